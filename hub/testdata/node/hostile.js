'use strict';
// What a hub has to live through. In each case two clients of Pandora's go on calling one another,
// and must not notice. t is a Play of driver.js.
const { frame, header, action } = require('./raw.js');

const OK = { success: true };

// bystanders are two clients; the result has one call the other
async function bystanders(t) {
  const a = await t.client(), b = await t.client();
  const remote = { clientId: b.getLocation().clientId };
  return async (what) => {
    const r = await t.within(20000, a.invoke(remote, 'echo', { data: what }), 'a call after ' + what);
    t.assert.equal(r.data.echo.data, what);
  };
}

// chance is a small generator of numbers in 0..1 that a seed repeats (mulberry32)
function chance(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let x = Math.imul(a ^ (a >>> 15), 1 | a);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

module.exports = {
  async 'what is not JSON ends its connection'(t) {
    const check = await bystanders(t), a = await t.raw(), name = t.name('o');
    const up = `{"action":"${action('MSG_UP')}"`;
    for (const body of ['{', '{{{', 'nope', 'NaN', "{'a':1}", '{"a":1,}', '[1,]', up, up + ',}', '01',
      '{"a":\t"\t"}', '"\\x"', '"\\ud8"', '{"a":1}{}', '\ufeff{}', '// {}', '{"a":undefined}', '\u00a05',
      Buffer.from([0]), Buffer.from([0xff]), Buffer.from([0x22, 0xc3]), ' ', '\n', '-', '1e', '+1', '.5',
      '[' .repeat(200000), '{"a":'.repeat(60000), '['.repeat(60000) + ']'.repeat(59999)]) {
      const p = await t.raw({ appName: t.name('p') });
      await p.publish({ objectName: name });
      p.body(body);
      await p.ended();
      t.nobody(await a.invoke({ remote: { objectName: name }, needReply: true }));
      await check(String(body).slice(0, 8));
    }
  },

  async 'what is no envelope is ignored'(t) {
    const check = await bystanders(t), p = await t.raw(), app = t.name('a');
    for (const body of ['5', '"text"', '[]', 'null', 'true', '{}', ' [ { } ] ', '{"action":7}',
      '{"action":null,"data":1}', '{"action":["x"]}', '{"action":{}}', '{"data":{}}', '""', '-0',
      '{"action":""}', '{"Action":"x"}', `["${action('ONLINE_UP')}"]`]) p.body(body);
    for (const name of ['error', 'connected', 'disconnected', 'close', 'newListener', 'connection',
      'removeListener', 'ready', '__proto__', 'constructor', 'toString', 'hasOwnProperty',
      'response_callback_', 'response_callback_x', action('MSG_DOWN'), action('MSG_UP ')]) {
      for (const data of ['null', '{"appName":"ghost"}', '[1]', '"x"']) {
        p.body(`{"action":"${name}","data":${data}}`);
      }
    }
    t.assert.deepEqual(await p.online({ appName: app }), OK);
    t.assert.equal(p.frames.length, 1);
    t.nobody(await p.invoke({ remote: { appName: 'ghost' }, needReply: true }));
    p.up({ remote: {}, broadcast: true, n: 'all' });
    await p.down((m) => m.n === 'all');
    await check('odd bodies');
  },

  async 'messages without a message'(t) {
    const check = await bystanders(t), p = await t.raw();
    for (const data of ['null', '5', '"text"', '[]', 'true', '{}', '[null]', '{"needReply":0}']) p.up(data);
    p.body(`{"action":"${action('MSG_UP')}"}`);
    t.assert.equal((await p.invoke('{"needReply":true}')).success, false);
    t.assert.equal(p.frames.length, 1);
    await check('empty messages');
  },

  async 'lengths that cannot be'(t) {
    const check = await bystanders(t);
    for (const length of [2 ** 32 - 1, 2 ** 31, 2 ** 30 + 1, 2 ** 27]) {
      const p = await t.raw();
      p.write(Buffer.concat([header(length, 1), Buffer.from('{"action":"')]));
      await p.ended();
      await check(length);
    }
  },

  async 'bytes by chance'(t) {
    const check = await bystanders(t), seed = process.pid, r = chance(seed);
    const good = frame({ action: action('ONLINE_UP'), data: { host: { appName: 'x', pid: '7' } } }, 1);
    for (let n = 0; n < 80; n++) {
      const p = await t.raw();
      p.socket.on('error', () => {}); // the hub may cut it off while it writes
      if (n % 2) {
        const b = Buffer.concat([good, good, good]);
        for (let k = 0; k < 3; k++) b[Math.floor(r() * b.length)] = Math.floor(r() * 256);
        p.write(b);
      } else {
        p.write(Buffer.from(Array.from({ length: 1 + r() * 500 }, () => r() * 256)));
      }
      if (n % 3 === 0) p.socket.end();
      if (n % 16 === 15) await check(`seed ${seed}, ${n}`);
    }
  },

  async 'peers that stop in the middle'(t) {
    const check = await bystanders(t), stuck = [];
    const f = frame({ action: action('ONLINE_UP'), data: { host: { appName: t.name('a') } } }, 1);
    for (const n of [1, 5, 8, 9, 10, 30, f.length - 1]) {
      const p = await t.raw();
      p.write(f.subarray(0, n));
      stuck.push([p, n]);
    }
    for (let n = 0; n < 20; n++) await check(n);
    for (const [p, n] of stuck) {
      p.write(f.subarray(n));
      t.assert.deepEqual(await p.reply(1), OK);
    }
  },

  async 'a peer that does not read'(t) {
    const check = await bystanders(t), app = t.name('a'), s = await t.client();
    const p = await t.raw({ appName: app });
    p.socket.pause();
    for (let n = 0; n < 96; n++) s.send({ appName: app }, 'x', { data: n + ':' + 'k'.repeat(65536) });
    for (let n = 0; n < 10; n++) await check(n);
    p.socket.resume();
    await t.until(() => p.downs().length === 96, 20000, '96 messages');
    p.downs().forEach((f, n) => t.assert.ok(f.data.data.startsWith(n + ':k')));
  },

  async 'a peer that never reads is cut off'(t) {
    const check = await bystanders(t), app = t.name('a'), p = await t.raw({ appName: app });
    const s = await t.raw(), text = 'k'.repeat(4 << 20);
    p.socket.pause();
    const gone = () => s.invoke({ remote: { appName: app }, needReply: true, timeout: 5 })
      .then((r) => /^Cannot found any clients/.test(r.error.message));
    for (let n = 0; n < 40 && !(await gone()); n++) s.up({ remote: { appName: app }, text });
    t.assert.ok(await gone(), 'still found after 160 MiB');
    await check('all that');
  },

  async 'a peer that is reset'(t) {
    const check = await bystanders(t), a = await t.raw(), app = t.name('a');
    for (let n = 0; n < 10; n++) {
      const p = await t.raw({ appName: app }), remote = { appName: app };
      p.socket.pause(); // so that bytes are unread when it goes, which makes it a reset
      const id = a.up({ remote, needReply: true, timeout: 60000, text: 'k'.repeat(1 << 20) });
      a.up({ remote, text: 'k'.repeat(1 << 20) });
      await check('before ' + n);
      p.socket.destroy();
      t.assert.equal((await a.reply(id)).success, false);
      t.nobody(await a.invoke({ remote, needReply: true }));
    }
  },

  async 'callers that go away'(t) {
    const check = await bystanders(t), app = t.name('a'), b = await t.raw({ appName: app });
    for (let n = 0; n < 20; n++) {
      const a = await t.raw();
      a.up({ remote: { appName: app }, needReply: true, timeout: 60000, n });
      a.up({ remote: { appName: app }, broadcast: true, needReply: true, n: -n });
      const f = await b.down((m) => m.n === n);
      a.socket.destroy();
      b.answer(f, OK);
    }
    await check('callers');
    const a = await t.raw(), id = a.up({ remote: { appName: app }, needReply: true, n: 'last' });
    b.answer(await b.down((m) => m.n === 'last'), OK);
    t.assert.deepEqual(await a.reply(id), OK);
  },

  async 'clients that come and go'(t) {
    const check = await bystanders(t), appName = t.name('a');
    for (let round = 0; round < 2; round++) {
      const all = await Promise.all([...Array(60).keys()].map(() => t.client({ appName })));
      t.assert.equal((await all[0].multipleInvoke({ appName }, 'echo', {})).length, 60);
      if (round) for (const c of all) { c.messengerClient._connect = () => {}; c.messengerClient.close(); }
      else await Promise.all(all.map((c) => c.stop()));
      await check('round ' + round);
    }
    const a = await t.client();
    await t.until(async () => !(await a.multipleInvoke({ appName }, 'echo', {})), 20000, 'nobody');
  },

  async 'messages of every size'(t) {
    const app = t.name('a'), a = await t.raw();
    (await t.raw({ appName: app })).serve((m) => ({ text: m.text }));
    const sizes = [0, 1, 2, 4095, 4096, 65535, 65536, 65537, 262144, 1 << 20, 6 << 20];
    const ids = sizes.map((n) => a.up({ remote: { appName: app }, needReply: true, timeout: 60000,
      text: 'é'.repeat(n / 2) }));
    for (const [i, id] of ids.entries()) {
      t.assert.equal((await a.reply(id, 50000)).text.length, Math.floor(sizes[i] / 2));
    }
  },

  async 'selectors without end'(t) {
    const check = await bystanders(t), p = await t.raw(), name = t.name('o');
    for (let n = 0; n < 2000; n++) p.body({ action: action('PUBLISH_UP'),
      data: { data: { selector: { objectName: name, pid: String(n) } } } });
    await p.reply(2000);
    const a = await t.raw(), id = a.up({ remote: { objectName: name, pid: '1999' }, needReply: true });
    p.answer(await p.down(), 'found');
    t.assert.equal(await a.reply(id), 'found');
    await check('2000 selectors');
    await p.unpublish({ objectName: name });
    t.nobody(await a.invoke({ remote: { objectName: name }, needReply: true }));
  },
};
