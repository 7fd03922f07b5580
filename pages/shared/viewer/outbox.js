// The outbox: changes on their way to the server. None leaves it before the server has said that it holds it; until
// then it is also in the browser's own store, so that neither a dead server nor a reload loses a click.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const PATIENCE_MS = 10000; // a server that says nothing for so long counts as gone
const LIMIT = 200; // changes in one request
const KEEPALIVE_BYTES = 60000; // what a browser still sends for a page that is being closed
const PERMANENT = [400, 403, 404]; // sending the same again will not help
const LOCKED = 409; // the field is finished: sending the same again will not help before it is reopened
const BROKEN = 500; // an unexpected answer: trying again may help once or twice
const NEWER = "This was changed in another window since; the newer change stands.";
const TRIES = 5; // of a change that draws such an answer alone

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class SendError extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

// The browser's store; what it cannot hold, forbidden or full, is in memory alone.
const localList = {
  memory: new Map(),
  get(key) {
    if (this.memory.has(key)) return this.memory.get(key);
    try {
      const kept = JSON.parse(localStorage.getItem(key));
      return Array.isArray(kept) ? kept : [];
    } catch {
      return [];
    }
  },
  put(key, list) {
    try {
      if (list.length) localStorage.setItem(key, JSON.stringify(list));
      else localStorage.removeItem(key);
      this.memory.delete(key);
    } catch {
      this.memory.set(key, list); // closing the page asks
    }
  },
  keys(prefix) {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
    } catch {
      return [];
    }
  },
};

class Outbox {
  constructor(user) {
    this.client = randomId();
    this.prefix = `concentric-outbox/${encodeURIComponent(user)}/`;
    this.key = this.prefix + this.client; // every window writes its own key alone
    this.refusedKey = `concentric-refused/${encodeURIComponent(user)}`; // the windows of a user share it
    this.entries = []; // { op, token, tries }
    this.tokens = new Map(); // field -> token
    this.names = new Map(); // field -> name
    this.expired = new Set(); // tokens
    this.saved = new Map(); // field -> revision of the last answer
    this.seq = 0;
    this.most = LIMIT;
    this.wait = FIRST_WAIT_MS;
    this.trouble = ""; // why the last request failed
    this.waiters = [];
    this.listener = null; // { changed(), notify(sentence), answered(ops, outdated, lost), adopted() }; lost: ops that the server did not take
    const lost = () => this.entries.length || localList.memory.get(this.refusedKey)?.length;
    addEventListener("beforeunload", (event) => lost() && event.preventDefault());
    addEventListener("storage", (event) => event.key === this.refusedKey && this.listener?.changed());
    addEventListener("online", () => this.flush());
    this.adopt();
  }

  // What a window left behind that is gone; a window that lives holds a lock. Sent twice does no harm.
  async adopt() {
    const locks = navigator.locks;
    locks?.request(this.key, () => new Promise(() => {}));
    const take = async () => {
      const alive = new Set(locks ? (await locks.query()).held.map((lock) => lock.name) : []);
      const left = localList.keys(this.prefix).filter((key) => key !== this.key && !alive.has(key));
      const found = left.flatMap((key) => localList.get(key)).filter((entry) => entry?.op?.op_id && entry.op.field);
      found.sort((a, b) => a.op.t - b.op.t || a.op.seq - b.op.seq);
      this.entries = [...found, ...this.entries];
      this.save();
      for (const key of left) localList.put(key, []);
      for (const [field, token] of this.tokens) this.renew(field, token);
      if (found.length) this.listener?.adopted();
    };
    await (locks ? locks.request(`${this.prefix}adopting`, take) : take());
    this.flush();
  }

  // ---- in

  // A field was opened: its waiting changes travel with the new token.
  open(field, api, name) {
    this.url = api.url;
    this.names.set(field, name);
    this.renew(field, api.token);
    this.flush();
  }

  renew(field, token) {
    this.tokens.set(field, token);
    for (const entry of this.entries) if (entry.op.field === field) entry.token = token;
  }

  add(field, base, change) {
    const own = { op_id: randomId(), client: this.client, seq: ++this.seq, t: Date.now(), field, base };
    this.entries.push({ op: { ...own, ...change }, token: this.tokens.get(field) });
    // Many changes of one click are stored and sent together.
    if (this.soon) return;
    this.soon = true;
    queueMicrotask(() => this.gather());
  }

  gather() {
    this.soon = false;
    this.save();
    this.listener?.changed();
    if (!this.trouble) this.flush();
  }

  save() {
    localList.put(this.key, this.entries);
  }

  waiting(field) {
    return this.entries.filter((entry) => entry.op.field === field).map((entry) => entry.op);
  }

  // Resolves when nothing waits any more, or when it has to wait longer.
  whenSent() {
    if (!this.entries.length || this.trouble) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  // ---- out, one request at a time

  async flush() {
    if (this.busy || !this.entries.length || !this.url) return;
    this.busy = true;
    clearTimeout(this.timer);
    const batch = this.batch();
    try {
      this.acknowledge(batch, await this.post(batch));
      this.trouble = "";
      this.wait = FIRST_WAIT_MS;
      if (!this.entries.length) this.most = LIMIT;
    } catch (error) {
      this.failed(batch, error);
    }
    this.busy = false;
    this.listener?.changed();
    if (!this.entries.length || this.trouble) for (const go of this.waiters.splice(0)) go();
    if (this.trouble) this.timer = setTimeout(() => this.flush(), this.nextWait());
    else this.flush();
  }

  nextWait() {
    const now = this.wait;
    this.wait = Math.min(LONGEST_WAIT_MS, now * 2);
    return now;
  }

  // The oldest changes of one field by one window; a field whose token has run out does not hold up the others.
  batch() {
    const { op, token } = this.entries.find((entry) => !this.expired.has(entry.token)) ?? this.entries[0];
    const alike = (entry) => entry.op.field === op.field && entry.op.client === op.client && entry.token === token;
    return this.entries.filter(alike).slice(0, this.most);
  }

  async post(batch) {
    const [{ op, token }] = batch;
    const body = JSON.stringify({ field: op.field, ops: batch.map((entry) => entry.op) });
    const request = {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Concentric-Token": token ?? "" },
      body,
      keepalive: body.length < KEEPALIVE_BYTES,
      signal: AbortSignal.timeout(PATIENCE_MS),
    };
    let response, answer;
    try {
      response = await fetch(new URL(this.url, document.baseURI), request);
    } catch {
      throw new SendError("The server cannot be reached.");
    }
    try {
      // An address that the server does not know is answered by a page, with status 200.
      if (!response.headers.get("content-type")?.startsWith("application/json")) throw new Error();
      answer = await response.json();
    } catch {
      throw new SendError("The server gave no proper answer.", response.status === BROKEN ? BROKEN : 0);
    }
    // On a finished field some changes are refused and named: it is an answer like any other.
    if (!response.ok && response.status !== LOCKED)
      throw new SendError(String(answer.error || "The server could not save."), response.status);
    return answer;
  }

  acknowledge(batch, { done = [], superseded = [], refused = [], rev = 0, missed = false, error = "" }) {
    const gone = new Set([...done, ...superseded, ...refused.map((one) => one.op_id)]);
    if (!batch.some((entry) => gone.has(entry.op.op_id)))
      throw new SendError("The server did not say what it has saved.", BROKEN);
    const field = batch[0].op.field;
    this.entries = this.entries.filter((entry) => !gone.has(entry.op.op_id));
    this.saved.set(field, Math.max(rev, this.saved.get(field) ?? 0));
    // Nobody else has written: what was clicked on top of these changes is not older than they are.
    const base = Math.min(...batch.map((entry) => entry.op.base));
    if (!missed)
      for (const { op } of this.entries) if (op.field === field && op.base >= base) op.base = Math.max(op.base, rev);
    const why = new Map(refused.map((one) => [one.op_id, one.why]));
    this.addRefused(batch.filter(({ op }) => why.has(op.op_id)), ({ op }) => why.get(op.op_id)); // before it is removed
    this.save();
    if (superseded.length) this.listener?.notify(NEWER);
    if (error) this.listener?.notify(error);
    const ops = batch.map((entry) => entry.op);
    const lost = ops.filter((op) => superseded.includes(op.op_id) || why.has(op.op_id));
    this.listener?.answered(ops, missed || lost.length > 0, lost);
  }

  failed(batch, error) {
    const { status = 0, message } = error;
    this.trouble = message;
    if (status === 401) this.expired.add(batch[0].token);
    else if (status === 413 && batch.length > 1) {
      this.most = Math.ceil(batch.length / 2);
      this.trouble = "";
    } else if (status === BROKEN && batch.length > 1) this.most = 1; // which of them is it?
    else if (status === BROKEN) this.onServerError(batch, message);
    else if (PERMANENT.includes(status) || status === 413) this.refuse(batch, message);
  }

  onServerError(batch, why) {
    const [entry] = batch;
    entry.tries = (entry.tries ?? 0) + 1;
    if (entry.tries < TRIES) return this.save();
    this.refuse(batch, why);
    this.most = LIMIT;
    this.wait = FIRST_WAIT_MS;
  }

  refuse(batch, why) {
    const gone = new Set(batch);
    this.entries = this.entries.filter((entry) => !gone.has(entry));
    this.trouble = "";
    this.addRefused(batch, () => why);
    this.save();
    const ops = batch.map((entry) => entry.op);
    this.listener?.answered(ops, true, ops);
  }

  // ---- refused changes: they no longer block the others, and are kept until the reader decides

  get refused() {
    return localList.get(this.refusedKey);
  }

  addRefused(batch, why) {
    if (!batch.length) return;
    const kept = batch.map((entry) => ({ op: entry.op, token: entry.token, why: why(entry) ?? "", name: this.names.get(entry.op.field) }));
    localList.put(this.refusedKey, [...this.refused, ...kept].slice(-1000));
    this.listener?.changed();
  }

  retry() {
    const again = this.refused.map(({ op, token }) => ({ op, token: this.tokens.get(op.field) ?? token }));
    this.entries = [...again, ...this.entries];
    this.save();
    this.discard();
    this.listener?.adopted();
    this.flush();
  }

  discard() {
    localList.put(this.refusedKey, []);
    this.listener?.changed();
  }
}

// One outbox per user for as long as the page of the browser lives: a viewer comes and goes.
const outboxes = new Map();

function outboxOf(user) {
  if (!outboxes.has(user)) outboxes.set(user, new Outbox(user));
  return outboxes.get(user);
}
