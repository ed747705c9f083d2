'use strict';
// Plays the cases with Pandora's own clients, and by hand, against the hub at $PANDORA_TMP_DIR.
//
//   node driver.js 1|2|mixed [name ...]      which clients; which cases, all of them without names
//
// Each line of its output is JSON: {"case","why","ms"} for a case that is over (why is empty when it
// passed), or {"hub":"restart"} when it wants that done to the hub; it goes on when a line
// comes on its input.
const assert = require('node:assert/strict');
const path = require('node:path');
const { fork } = require('node:child_process');
const readline = require('node:readline');
const { Raw } = require('./raw.js');
const load = require('node:module').createRequire(path.join(process.env.CLIENTS, 'package.json'));

const [mode, ...only] = process.argv.slice(2);
const quiet = { error() {}, log() {}, info() {}, warn() {} };
console.error = console.warn = () => {}; // the clients tell of every connection that is lost
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const input = readline.createInterface({ input: process.stdin });

// the files with the cases lie beside this one
const files = (process.env.CASES || 'cases,rawcases,hostile').split(',');
const cases = Object.assign({}, ...files.map((name) => require('./' + name + '.js')));

let turn = 0, names = 0;

// Play is what one case gets. What it makes is torn down after the case.
class Play {
  constructor() {
    Object.assign(this, { assert, sleep, clients: [], children: [], raws: [] });
  }

  // version is 1 or 2; mixed takes them in turns
  version() { return mode === 'mixed' ? 1 + (turn++ % 2) : Number(mode); }

  name(what) { return `${what}-${process.pid}-${++names}`; }

  async client(location) {
    const { HubClient } = load('hub-v' + this.version());
    const c = new HubClient({ location: location || { appName: this.name('app') }, logger: quiet });
    this.clients.push(c);
    await this.within(20000, c.start(), 'start of a client');
    return c;
  }

  async facade(location) {
    const lib = load('hub-v' + this.version());
    const f = new (lib.HubFacade || lib.Facade)();
    f.setup({ location: location || { appName: this.name('app') }, logger: quiet });
    this.clients.push(f.getHubClient());
    await this.within(20000, f.start(), 'start of a facade');
    return f;
  }

  // raw is a peer whose frames are made by hand; with a location it is online
  async raw(location, options) {
    const p = new Raw();
    this.raws.push(p);
    await this.within(20000, p.connect(options), 'connecting');
    if (location) assert.deepEqual(await p.online(location), { success: true });
    return p;
  }

  // serve has the client answer an action with what fn makes of the message
  serve(client, action, fn) {
    client.pushDispatchHandler({ dispatch: (m) => (m.action === action ? fn(m) : undefined) });
  }

  // child is a provider in a process of its own, which answers `pid` and never answers `stall`
  async child(location) {
    const args = [String(this.version()), JSON.stringify(location)];
    const child = fork(path.join(__dirname, 'provider.js'), args, { execArgv: [] });
    this.children.push(child);
    const told = [];
    child.on('message', (m) => told.push(m));
    child.hears = (what) => this.until(() => told.includes(what), 20000, 'child to say ' + what);
    await child.hears('ready');
    return child;
  }

  within(ms, promise, what) {
    let timer;
    const late = new Promise((_, fail) => {
      timer = setTimeout(() => fail(new Error(`${what} took more than ${ms} ms`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  async until(holds, ms, what) {
    for (const end = Date.now() + ms; ; await sleep(10)) {
      if (await holds()) return;
      if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    }
  }

  // nobody asserts that a reply says that no client was found
  nobody(reply) {
    assert.equal(reply && reply.success, false);
    assert.match(reply.error.message, /^Cannot found any clients by selector: /);
  }

  // hub has something done to the hub
  hub(what) {
    say({ hub: what });
    return new Promise((done) => input.once('line', done));
  }

  async end() {
    for (const c of this.clients) {
      const m = c.messengerClient;
      if (m) { m._connect = () => {}; m.close(); }
    }
    for (const c of this.children) c.kill('SIGKILL');
    for (const p of this.raws) p.socket.destroy();
    await sleep(5);
  }
}

async function main() {
  const hold = setInterval(() => {}, 1000); // the sockets of the clients keep no process alive
  for (const [name, run] of Object.entries(cases)) {
    if (only.length && !only.includes(name)) continue;
    const play = new Play(), began = Date.now();
    let why = '';
    try {
      await play.within(60000, run(play), 'the case');
    } catch (e) {
      why = String((e && e.stack) || e);
    }
    await play.end();
    say({ case: name, why, ms: Date.now() - began });
  }
  clearInterval(hold);
  input.close();
  process.exit(0);
}

process.on('unhandledRejection', () => {}); // of calls that a case has left behind
main();
