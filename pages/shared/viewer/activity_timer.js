// Seconds of work on a field. Time counts while the page is visible, until 30 s after the last input.

const IDLE_MS = 30000;
const REPORT_MS = 60000;

class ActivityTimer {
  // spend(seconds): called when the field is left or hidden, and every minute of work
  constructor(root, spend) {
    this.spend = spend;
    this.start();
    for (const type of ["pointerdown", "pointermove", "wheel", "keydown"])
      root.addEventListener(type, () => this.onInput(), { passive: true, capture: true });
    this.onHide = () => document.hidden && this.stop();
    document.addEventListener("visibilitychange", this.onHide);
    this.onLeave = () => this.stop();
    addEventListener("pagehide", this.onLeave);
  }

  start() {
    this.spent = 0;
    this.counted = performance.now();
    this.lastInput = -Infinity;
  }

  count() {
    const now = performance.now();
    this.spent += Math.max(0, Math.min(now, this.lastInput + IDLE_MS) - this.counted);
    this.counted = now;
  }

  onInput() {
    this.count();
    this.lastInput = this.counted;
    if (this.spent >= REPORT_MS) this.report();
  }

  report() {
    this.count();
    if (this.spent >= 100) this.spend(Math.round(this.spent) / 1000);
    this.spent = 0;
  }

  stop() {
    this.report();
    this.lastInput = -Infinity;
  }

  remove() {
    this.stop();
    document.removeEventListener("visibilitychange", this.onHide);
    removeEventListener("pagehide", this.onLeave);
  }
}
