// Files on their way to the store, one after the other. There is one of these in a browser tab, and it goes on while
// other pages are shown: each file is stored by the server before the next one is sent.

const RETRY_MS = 2000;
const IGNORED = /^(\.|thumbs\.db$|desktop\.ini$)/i; // what systems leave in folders

class Uploads {
  constructor() {
    this.queue = [];
    this.listener = () => {};
    this.stored = () => {};
    this.clear();
    window.addEventListener("beforeunload", (event) => this.open && event.preventDefault());
  }

  clear() {
    this.done = 0;
    this.total = 0;
    this.known = 0;
    this.refused = 0;
    this.cases = new Map(); // case -> how many fields came
    this.problem = "";
  }

  get open() {
    return this.done < this.total;
  }

  // files: [{ file, path }]; options: { case, unnamed }
  add(files, options) {
    const taken = files.filter(({ path }) => !IGNORED.test(path.split("/").pop()));
    if (!taken.length) return;
    if (!this.open) this.clear();
    taken.sort((a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }));
    this.queue.push(...taken.map((one) => ({ ...one, ...options })));
    this.total += taken.length;
    this.listener();
    this.run();
  }

  async run() {
    if (this.running) return;
    this.running = true;
    while (this.queue.length) {
      this.current = this.queue[0].path;
      this.listener();
      const wait = await this.send(this.queue[0]);
      if (wait) {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      this.queue.shift();
      this.done += 1;
      this.listener();
      this.stored();
    }
    this.running = false;
    this.listener();
  }

  // Whether it must be sent again later.
  async send({ file, path, case: name, unnamed }) {
    const { url, token, most_bytes, only_named } = this.to;
    const whole = only_named.some((suffix) => path.toLowerCase().endsWith(suffix)) || file.size > most_bytes;
    const asked = new URLSearchParams({ name: path, size: file.size });
    if (name) asked.set("case", name);
    if (unnamed) asked.set("unnamed", "1");
    let answer, said;
    try {
      answer = await fetch(`${url}?${asked}`, {
        method: "POST",
        headers: { "X-Concentric-Token": token, "Content-Type": "application/octet-stream" },
        body: whole ? null : file,
      });
      said = await answer.json();
    } catch (error) {
      if (error?.name === "NotFoundError" || error?.name === "NotReadableError") return this.fail(`${path} can no longer be read.`);
      this.problem = "The server does not answer. Sending goes on when it is back.";
      return true;
    }
    this.problem = "";
    if (answer.status === 503) {
      this.problem = said.error;
      return true;
    }
    if (!answer.ok) return this.fail(`${path}: ${said.error}`);
    if (said.field === null) this.refused += 1;
    else if (said.known) this.known += 1;
    else this.cases.set(said.case, (this.cases.get(said.case) ?? 0) + 1);
    return false;
  }

  fail(sentence) {
    this.refused += 1;
    this.lost = [...(this.lost ?? []), sentence];
    return false;
  }

  // What came of the last files, in words.
  get summary() {
    const parts = [];
    const added = [...this.cases.values()].reduce((sum, number) => sum + number, 0);
    if (added) {
      const named = [...this.cases].map(([name, number]) => `${name || "no case"} (${number})`);
      const shown = named.slice(0, 4).join(", ") + (named.length > 4 ? ` and ${named.length - 4} more` : "");
      parts.push(`${plural(added, "field")} added: ${shown}`);
    }
    if (this.known) parts.push(`${plural(this.known, "field")} ${this.known === 1 ? "was" : "were"} there already`);
    if (this.refused) parts.push(`${plural(this.refused, "file")} could not be taken`);
    return parts.join(" · ");
  }
}

function uploads() {
  window.concentricUploads ??= new Uploads();
  return window.concentricUploads;
}

// ---- files out of a drop or a chooser, with their paths below a dropped folder

async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    return new Promise((resolve) => entry.file((file) => resolve([{ file, path }]), () => resolve([])));
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}

function chosenFiles(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}
