'use strict';
// Frames by hand: a peer that says what it likes, for what the clients from npm never say.
const net = require('node:net');
const path = require('node:path');
const { EventEmitter } = require('node:events');

const socket = () => path.join(process.env.PANDORA_TMP_DIR, 'pandorajs_pandora_msg_hub.sock');
const action = (name) => `PANDORA_HUB_ACTION_${name}`;

// frame is flags, id, length and the body: a Buffer, a string as it is, or any value as JSON
function frame(body, id, flags = 0) {
  const b = Buffer.isBuffer(body) ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return Buffer.concat([header(b.length, id, flags), b]);
}

function header(length, id, flags = 0) {
  const h = Buffer.alloc(9);
  h.writeUInt8(flags, 0);
  h.writeUInt32BE(id, 1);
  h.writeUInt32BE(length, 5);
  return h;
}

class Raw extends EventEmitter {
  constructor() {
    super();
    this.setMaxListeners(0);
    this.frames = []; this.last = 0; this.gone = false; this.rest = Buffer.alloc(0);
  }

  connect(options) {
    return new Promise((done, fail) => {
      this.socket = net.connect({ path: socket(), ...options }, () => done(this));
      this.socket.on('error', fail);
      this.socket.on('close', () => { this.gone = true; this.emit('gone'); });
      this.socket.on('data', (bytes) => this.take(bytes));
    });
  }

  take(bytes) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, bytes]) : bytes;
    while (this.rest.length >= 9) {
      const length = this.rest.readUInt32BE(5);
      if (this.rest.length < 9 + length) return;
      const body = this.rest.subarray(9, 9 + length);
      const f = { flags: this.rest[0], id: this.rest.readUInt32BE(1), text: body.toString() };
      this.rest = this.rest.subarray(9 + length);
      Object.assign(f, JSON.parse(f.text)); // action and data
      this.frames.push(f);
      this.emit('frame', f);
    }
  }

  write(bytes) { this.socket.write(bytes); }

  // body sends a body, and returns the id that it went with
  body(body, id = ++this.last, flags = 0) {
    this.write(frame(body, id, flags));
    return id;
  }

  // ask sends a package for the hub and returns the data of its answer
  ask(name, data) { return this.reply(this.body({ action: action(name), data })); }

  // known waits until the hub has taken the connection in, which is not online then: it answers
  async known() { await this.ask('PUBLISH_UP'); return this; }

  online(location) { return this.ask('ONLINE_UP', { host: location, needReply: true }); }

  publish(selector) { return this.ask('PUBLISH_UP', { data: { selector }, needReply: true }); }

  unpublish(selector) { return this.ask('UNPUBLISH_UP', { data: { selector }, needReply: true }); }

  offline() { return this.ask('OFFLINE_UP', { needReply: true }); }

  // up sends a message, given as a value or as the text of its JSON
  up(message) {
    const text = typeof message === 'string' ? message : JSON.stringify(message);
    return this.body(`{"action":"${action('MSG_UP')}","data":${text}}`);
  }

  // invoke is up, and the package of its reply
  invoke(message, ms) { return this.reply(this.up(message), ms); }

  // wait resolves with the first frame that was or will be, for which holds is true
  wait(holds, ms = 20000, what = 'a frame') {
    return new Promise((done, fail) => {
      const end = (settle, x) => {
        clearTimeout(timer);
        this.off('frame', see).off('gone', lost);
        settle(x);
      };
      const see = (f) => { if (holds(f)) end(done, f); };
      const lost = () => end(fail, new Error(`the connection ended before ${what}`));
      const timer = setTimeout(() => end(fail, new Error(`no ${what} in ${ms} ms`)), ms);
      this.on('frame', see).on('gone', lost);
      const had = this.frames.find(holds);
      if (had) end(done, had); else if (this.gone) lost();
    });
  }

  async reply(id, ms) {
    const name = 'response_callback_' + id;
    return (await this.wait((f) => f.action === name, ms, 'reply to ' + id)).data;
  }

  // downs are the messages that came, down waits for the one that holds
  downs() { return this.frames.filter((f) => f.action === action('MSG_DOWN')); }

  down(holds = () => true) {
    return this.wait((f) => f.action === action('MSG_DOWN') && holds(f.data), 20000, 'message');
  }

  // answer replies to the frame of a message; serve does so to all, with what fn makes of them
  answer(f, pkg) { return this.body({ action: 'response_callback_' + f.id, data: pkg }); }

  serve(fn) {
    this.on('frame', (f) => {
      if (f.action === action('MSG_DOWN') && f.data.needReply) this.answer(f, fn(f.data));
    });
    return this;
  }

  ended(ms = 20000) {
    if (this.gone) return Promise.resolve();
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`still connected after ${ms} ms`)), ms);
      this.once('gone', () => { clearTimeout(timer); done(); });
    });
  }
}

module.exports = { Raw, frame, header, action };
