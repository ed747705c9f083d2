'use strict';
// The protocol by hand: frames, truth values, selectors, replies, timeouts. t is a Play of driver.js.
const { frame, action } = require('./raw.js');

const OK = { success: true };
const j = JSON.stringify;

module.exports = {
  async 'the first frames'(t) {
    const p = await t.raw();
    p.body({ action: action('ONLINE_UP'), data: { host: { appName: t.name('a') } } }, 41);
    t.assert.deepEqual(await p.reply(41), OK, 'answered without needReply, too');
    t.assert.deepEqual(await p.offline(), OK);
    t.assert.deepEqual(await p.offline(), OK, 'twice');
    t.assert.deepEqual(p.frames.map((f) => [f.flags, f.id]), [[0, 1], [0, 2], [0, 3]]);
  },

  async 'ids count on whatever the frame'(t) {
    const app = t.name('a'), a = await t.raw(), b = (await t.raw({ appName: app })).serve(() => OK);
    const before = b.frames.length;
    for (let n = 0; n < 3; n++) {
      a.up({ remote: { appName: app }, n });
      await a.invoke({ remote: { appName: app }, needReply: true, n });
      await b.publish({ objectName: app + n });
    }
    t.assert.deepEqual(b.frames.map((f) => f.id), b.frames.map((f, n) => n + 1));
    t.assert.equal(b.frames.length, before + 9);
  },

  async 'flags and ids of every kind'(t) {
    const p = await t.raw(), data = { host: { appName: t.name('a') } };
    for (const [flags, id] of [[0, 0], [0x40, 1], [0x80, 2 ** 30], [0xc0, 2 ** 31], [0xff, 7],
      [0x28, 9], [1, 2 ** 32 - 1]]) {
      p.body({ action: action('ONLINE_UP'), data }, id, flags);
      t.assert.deepEqual(await p.reply(id), OK);
    }
  },

  async 'frames in pieces and in one piece'(t) {
    const p = await t.raw(), online = { action: action('ONLINE_UP'), data: { host: { pid: 'é' } } };
    const one = frame(online, 1);
    for (let cut = 1; cut < one.length; cut++) {
      const f = frame(online, cut);
      p.write(f.subarray(0, cut));
      await new Promise(setImmediate);
      p.write(f.subarray(cut));
      await p.reply(cut);
    }
    const all = [];
    for (let id = 1000; id < 1400; id++) all.push(frame(online, id), frame('', id));
    p.write(Buffer.concat(all));
    await p.reply(1399);
    const ids = p.frames.slice(-400).map((f) => Number(f.action.slice(18)));
    t.assert.deepEqual(ids, [...ids.keys()].map((n) => 1000 + n));
  },

  async 'what is true and what is not'(t) {
    const app = t.name('a'), a = await t.raw(), remote = j({ appName: app });
    (await t.raw({ appName: app })).serve((m) => ({ n: m.n }));
    const yes = ['true', '1', '-1', '1e-300', '5e-324', '"0"', '" "', '"false"', '[]', '{}', '1e999'];
    const no = ['false', 'null', '0', '-0', '0.0', '0e9', '1e-400', '-1e-400', '""'];
    for (const [texts, want] of [[yes, true], [no, false]]) {
      for (const text of texts) {
        const id = a.up(`{"remote":${remote},"needReply":${text},"n":1}`);
        const last = a.up(`{"remote":${remote},"needReply":true,"n":2}`);
        t.assert.deepEqual(await a.reply(last), { n: 2 });
        const came = a.frames.some((f) => f.action === 'response_callback_' + id);
        t.assert.equal(came, want, 'needReply ' + text);
        const all = await a.invoke(`{"remote":${remote},"broadcast":${text},"needReply":1,"n":3}`);
        t.assert.deepEqual(all, want ? { success: true, batchReply: [{ n: 3 }] } : { n: 3 },
          'broadcast ' + text);
      }
    }
    // of repeated keys the last counts, and keys may be escaped
    const id = a.up(`{"remote":${remote},"needReply":true,"needReply":0}`);
    t.assert.deepEqual(await a.invoke(`{"needReply":0,"remote":5,"n":4,` +
      `"remo\\u0074e":${remote},"\\u006eeedReply":"x"}`), { n: 4 });
    t.assert.ok(!a.frames.some((f) => f.action === 'response_callback_' + id));
  },

  async 'selectors compare as JavaScript does'(t) {
    const a = await t.raw(), app = t.name('a'), b = await t.raw();
    b.serve((m) => ({ n: m.n }));
    const ask = (pid, extra = '') => a.invoke(
      `{"remote":{"appName":"${app}","pid":${pid}${extra}},"needReply":true,"n":${j(pid)}}`);
    const publish = (pid) => b.reply(b.body(Buffer.concat([
      Buffer.from(`{"action":"${action('PUBLISH_UP')}","data":{"data":{"selector":` +
        `{"appName":"${app}","pid":`), Buffer.from(pid), Buffer.from('}}}}')])));
    const table = [
      ['5', ['5', '5.0', '5e0', '50e-1', '0.5E1', '1,"pid":5', '""', 'null', '-0', 'false'],
        ['"5"', 'true', '[5]', '6', '5.000000001', '{}', '"",  "pid":6']],
      ['9007199254740993', ['9007199254740992', '9007199254740993.0'], ['9007199254740994']],
      ['"caf\\u00e9"', ['"café"', '"caf\\u00E9"', '"c\\u0061fé"'], ['"cafe\\u0301"', '"Café"']],
      ['"\\ud83d\\ude00"', ['"😀"', '"\\uD83D\\uDE00"'], ['"\\ud83d"', '"\\ude00\\ud83d"']],
      ['"\\ud800"', ['"\\uD800"'], ['"\\ufffd"', '"\\ud801"']],
      [Buffer.from('22ff22', 'hex'), ['"\\ufffd"', '"\ufffd"'], ['"ÿ"']],
      ['"a/b"', ['"a\\/b"', '"a\\u002fb"'], ['"a\\\\/b"']],
      ['true', ['true'], ['1', '"true"', '[]']],
      ['{"a":1}', ['null'], ['{"a":1}', '"[object Object]"']],
      ['0', ['0', '-0', '""'], ['1', '"0"']], // a free key of who asks, never one that equals
    ];
    for (const [pid, hits, misses] of table) {
      t.assert.deepEqual(await publish(pid), OK);
      for (const hit of hits) t.assert.deepEqual(await ask(hit), { n: hit }, `${hit} for ${pid}`);
      for (const miss of misses) t.nobody(await ask(miss));
      t.assert.deepEqual(await b.unpublish({ appName: app }), OK);
      t.nobody(await ask('null'));
    }
    t.assert.deepEqual(await publish('1'), OK);
    t.assert.deepEqual(await ask('1', ',"pif":"paf","constructor":7'), { n: '1' }, 'other keys');
    t.assert.deepEqual(await ask('1', ',"__proto__":{"processName":"x"}'), { n: '1' });
    t.nobody(await ask('1', ',"processName":"x"'));
  },

  async 'what is not an object selects everybody'(t) {
    const a = await t.raw(), b = await t.raw({ appName: t.name('b') });
    const bare = await (await t.raw()).known();
    for (const remote of ['5', '"x"', 'true', '[]', '{}', '{"appName":""}']) {
      const n = b.downs().length;
      a.up(`{"remote":${remote},"broadcast":true,"n":${n}}`);
      for (const p of [a, b, bare]) await p.down((m) => m.n === n);
    }
    const n = b.downs().length;
    a.up('{"remote":0,"broadcast":1,"n":"all"}'); // without remote: everybody, too
    for (const p of [a, b, bare]) await p.down((m) => m.n === 'all');
    t.assert.equal(b.downs().length, n + 1);
  },

  async 'nobody, and nothing to select by'(t) {
    const a = await t.raw({ appName: t.name('a') }), none = { appName: t.name('none'), pid: 'é"' };
    for (const broadcast of [false, true]) {
      const r = await a.invoke({ remote: none, broadcast, needReply: true });
      t.nobody(r);
      t.assert.equal(r.error.message, 'Cannot found any clients by selector: ' + j(none));
      t.assert.equal(r.error.stack.split('\n')[0], 'Error: ' + r.error.message);
      a.up({ remote: none, broadcast });
    }
    for (const [remote, what] of [['', 'undefined'], ['"remote":null,', 'null']]) {
      const r = await a.invoke(`{${remote}"needReply":true}`);
      t.assert.equal(r.success, false);
      t.assert.equal(r.error.message, `Cannot read properties of ${what} (reading 'clientId')`);
      t.assert.match(r.error.stack, /^TypeError: /);
    }
    t.assert.equal(a.frames.length, 5, 'no answer that nobody asked for');
  },

  async 'publish, unpublish, online, offline'(t) {
    const a = await t.raw(), p = await t.raw(), app = t.name('p'), name = t.name('o');
    const found = async (remote) => (await a.invoke({ remote, needReply: 1 })).success !== false;
    p.serve(() => OK);
    await p.online({ appName: app });
    for (const tag of ['v1', 'v1', 'v2']) {
      t.assert.deepEqual(await p.publish({ appName: app, objectName: name, objectTag: tag }), OK);
    }
    t.assert.deepEqual(await p.unpublish({ objectName: name, objectTag: 'v1' }), OK);
    t.assert.equal(await found({ objectName: name, objectTag: 'v1' }), false, 'both copies go');
    t.assert.equal(await found({ objectName: name, objectTag: 'v2' }), true, 'the other tag stays');
    t.assert.deepEqual(await p.unpublish({ objectName: 'never' }), OK);
    t.assert.deepEqual(await p.unpublish({}), OK, 'drops everything, the location included');
    t.assert.equal(await found({ appName: app }), false);
    const gone = await p.unpublish({ objectName: name });
    t.assert.equal(gone.error.message, 'Can not found client when forgetRelation()');
    await p.publish({ objectName: name });
    t.assert.equal(await found({ objectName: name }), true);
    await p.offline();
    t.assert.equal(await found({ objectName: name }), false);
    await p.online({ appName: app });
    t.assert.equal(await found({ appName: app }), true);
  },

  async 'what cannot be published'(t) {
    const p = await t.raw();
    const message = async (name, data) => {
      const id = p.body(data === undefined ? `{"action":"${action(name)}"}`
        : `{"action":"${action(name)}","data":${data}}`);
      const r = await p.reply(id);
      t.assert.equal(r.success, false, name + ' ' + data);
      return r.error.message;
    };
    const none = (of, key) => `Cannot read properties of ${of} (reading '${key}')`;
    const bad = (what) => 'Selector is required, but got ' + what;
    for (const [name, data, want] of [
      ['ONLINE_UP', '{}', bad('undefined')], ['ONLINE_UP', '{"host":null}', bad('null')],
      ['ONLINE_UP', '{"host":""}', bad('""')], ['ONLINE_UP', '{"host":-0.0}', bad('0')],
      ['ONLINE_UP', '{"host":false}', bad('false')], ['ONLINE_UP', 'null', none('null', 'host')],
      ['ONLINE_UP', undefined, none('undefined', 'host')],
      ['PUBLISH_UP', '{}', none('undefined', 'selector')],
      ['PUBLISH_UP', '{"data":null}', none('null', 'selector')],
      ['PUBLISH_UP', '{"data":{}}', bad('undefined')], ['PUBLISH_UP', '{"data":5}', bad('undefined')],
      ['PUBLISH_UP', 'null', none('null', 'data')],
      ['UNPUBLISH_UP', '{"data":{}}', none('undefined', 'clientId')],
    ]) t.assert.equal(await message(name, data), want);
    t.assert.deepEqual(await p.online({ appName: t.name('a') }), OK, 'the connection goes on');
  },

  async 'messages pass as they are'(t) {
    const app = t.name('a'), a = await t.raw(), b = await t.raw({ appName: app });
    const message = ` { "remote":{"appName":"${app}"}, "needReply" : true,"1":1,"a":1,"0":0,\t` +
      '"n":[1.0,-0,1e2,9007199254740993,"\\ud83d\\u0061\\/"],"n":{"\\u0000":"\u2028"},"x":"𝄞"}';
    const id = a.up(message);
    const f = await b.down();
    t.assert.deepEqual(f.data, JSON.parse(message));
    t.assert.equal(j(f.data), j(JSON.parse(message)), 'order of keys');
    const reply = '{"b":"\\ud800","a":[-0.0,1E5,null]}';
    b.body(`{"data":0,"action":"response_callback_${f.id}","data":${reply}}`);
    t.assert.equal(j(await a.reply(id)), j(JSON.parse(reply)));
    // bad UTF-8 is what Buffer.toString makes of it
    const bytes = Buffer.from(`{"action":"${action('MSG_UP')}","data":{"remote":{"appName":"${app}"},` +
      '"s":"\x80\xe2\x82|\xf0\x9f\x98|\xed\xa0\x80"}}', 'latin1');
    a.body(bytes);
    const want = JSON.parse(bytes.toString()).data.s;
    t.assert.equal((await b.down((m) => m.s)).data.s, want);
  },

  async 'replies of every kind'(t) {
    const app = t.name('a'), a = await t.raw(), b = await t.raw({ appName: app });
    const remote = { appName: app };
    for (const pkg of ['{"anything":[1]}', 'null', '"plain"', '0', 'false', '""', '[]', undefined]) {
      for (const broadcast of [false, true]) {
        const n = b.downs().length, id = a.up({ remote, broadcast, needReply: true, n });
        const f = await b.down((m) => m.n === n);
        const data = pkg === undefined ? '' : `,"data":${pkg}`;
        b.body(`{"action":"response_callback_${f.id}"${data}}`);
        const got = await a.reply(id), want = pkg === undefined ? undefined : JSON.parse(pkg);
        t.assert.deepEqual(got, !broadcast ? want
          : { success: true, batchReply: [want === undefined ? null : want] });
      }
    }
  },

  async 'replies are matched by the letter'(t) {
    const app = t.name('a'), a = await t.raw(), b = await t.raw({ appName: app });
    const stranger = await t.raw();
    const id = a.up({ remote: { appName: app }, needReply: true });
    const { id: n } = await b.down();
    for (const form of ['0' + n, '+' + n, ' ' + n, n + ' ', n + '.0', n + 'e0', '0x' + n.toString(16),
      '-' + n, '', n + 2 ** 32, '\\u0660' + n]) {
      b.body(`{"action":"response_callback_${form}","data":"wrong: ${form}"}`);
    }
    b.body(`{"action":"Response_callback_${n}","data":"wrong"}`);
    for (const wrong of [n - 1, n + 1, 4294967295]) b.answer({ id: wrong }, 'wrong');
    stranger.answer({ id: n }, 'not yours');
    await stranger.online({ appName: t.name('s') });
    b.body(`{"action":"\\u0072esponse_callback_${n}","data":"right"}`);
    b.answer({ id: n }, 'once more');
    t.assert.equal(await a.reply(id), 'right');
    await a.online({ appName: t.name('x') });
    t.assert.equal(a.frames.length, 2, 'one reply');
  },

  async 'timeouts of every kind'(t) {
    const app = t.name('a'), a = await t.raw(), remote = { appName: app };
    await t.raw(remote); // which never answers
    const began = Date.now();
    await Promise.all([['150', '150', 150], ['"120"', '120', 120], ['90.75', '90.75', 90],
      ['-5', '-5', 0], ['"soon"', 'soon', 0], ['true', 'true', 0], ['{}', '[object Object]', 0],
      ['[80]', '80', 80], ['[]', '', 0], ['["x",[2,null]]', 'x,2,', 0], ['"0x64"', '0x64', 100],
      ['1e-7', '1e-7', 0],
    ].map(async ([text, shown, least]) => {
      const r = await a.invoke(`{"remote":${j(remote)},"needReply":true,"timeout":${text}}`);
      const took = Date.now() - began;
      t.assert.equal(r.success, false);
      t.assert.equal(r.error.name, 'MessengerRequestTimeoutError');
      t.assert.equal(r.error.message, `target no response in ${shown}ms`);
      t.assert.ok(took >= least && took < least + 15000, `${text} took ${took} ms`);
    }));
    const long = ['2147483648', '1e12', '1e999', 'null', '0', '""', '"Infinity"'].map((text) =>
      a.up(`{"remote":${j(remote)},"needReply":true,"timeout":${text}}`));
    await t.sleep(150);
    for (const id of long) {
      t.assert.ok(!a.frames.some((f) => f.action === 'response_callback_' + id), 'a long time');
    }
  },

  async 'who never answers is one of a batch'(t) {
    const app = t.name('a'), a = await t.raw(), host = { appName: 'me', extra: [1] };
    const mute = await t.raw({ appName: app }), dead = await t.raw({ appName: app });
    (await t.raw({ appName: app })).serve(() => 'here');
    const id = a.up({ remote: { appName: app }, broadcast: 1, needReply: 1, timeout: 2000, host });
    await dead.down();
    dead.socket.destroy();
    const r = await a.reply(id);
    t.assert.deepEqual([r.success, r.remote, r.batchReply.length], [true, host, 3]);
    t.assert.equal(r.batchReply.filter((x) => x === 'here').length, 1);
    t.assert.deepEqual(r.batchReply.map((x) => x.error && x.error.message).sort().slice(0, 2),
      ['target disconnected before it answered', 'target no response in 2000ms']);
    mute.answer(await mute.down(), 'late');
    await a.online({ appName: t.name('x') });
    t.assert.equal(a.frames.length, 2);
  },

  async 'a broadcast to all'(t) {
    const a = await t.raw(), b = await t.raw({ appName: t.name('b') });
    const bare = await (await t.raw()).known(); // the portable engine cannot look into its backlog
    const id = a.up({ broadcast: true, needReply: true, host: { pid: 1 }, action: 'x', n: 1 });
    t.assert.deepEqual(await a.reply(id), OK, 'at once');
    for (const p of [a, b, bare]) {
      const f = await p.down((m) => m.n === 1);
      t.assert.equal(f.data.needReply, true);
      p.answer(f, { success: true, data: 'unheard' });
    }
    await a.online({ appName: t.name('x') });
    t.assert.equal(a.frames.filter((f) => f.action.startsWith('response')).length, 2);
  },

  async 'every kind of frame in one write'(t) {
    const app = t.name('p'), p = await t.raw(), up = (m) => ['MSG_UP', m];
    const all = [['ONLINE_UP', { host: { appName: app } }],
      ['PUBLISH_UP', { data: { selector: { objectName: app } } }],
      up({ remote: { appName: t.name('none') }, needReply: true }),
      up({ remote: { appName: app }, n: 'self' }), up({ broadcast: true, needReply: true, n: 'all' }),
      ['UNPUBLISH_UP', { data: { selector: { objectName: app } } }], ['NONE', 1],
      up({ remote: { objectName: app }, needReply: true }), ['OFFLINE_UP', {}],
      up({ remote: { appName: app }, needReply: true })];
    p.write(Buffer.concat(all.map(([name, data], n) => frame({ action: action(name), data }, n))));
    await p.reply(9);
    t.assert.deepEqual(p.frames.map((f) => f.data.n || [f.action.slice(18), f.data.success]),
      [['0', true], ['1', true], ['2', false], 'self', 'all', ['4', true], ['5', true], ['7', false],
        ['8', true], ['9', false]]);
    t.assert.deepEqual(p.frames.map((f) => f.id), [...p.frames.keys()].map((n) => n + 1));
  },

  async 'offline is not gone'(t) {
    const app = t.name('p'), name = t.name('o'), p = await t.raw({ appName: app });
    const a = await t.raw(), remote = { appName: app };
    const id = a.up({ remote, needReply: true, n: 1 }), f = await p.down();
    await p.offline();
    p.answer(f, 'said after it');
    t.assert.equal(await a.reply(id), 'said after it');
    t.nobody(await a.invoke({ remote, needReply: true }));
    t.nobody(await p.invoke({ remote, needReply: true }));
    a.up({ broadcast: true, n: 'all' });
    await p.down((m) => m.n === 'all');
    await p.publish({ objectName: name });
    p.serve(() => 'p');
    t.assert.equal(await a.invoke({ remote: { objectName: name }, needReply: true }), 'p');
    t.nobody(await a.invoke({ remote, needReply: true }));
  },

  async 'one client on several connections'(t) {
    const a = await t.raw(), location = { clientId: t.name('c'), appName: t.name('a') }, all = [];
    const o = { ...location, objectName: t.name('o') };
    for (let n = 0; n < 3; n++) {
      const p = (await t.raw(location)).serve(() => n);
      await p.publish(o);
      all.push(p);
    }
    const who = async (remote) => {
      const r = await a.invoke({ remote, broadcast: true, needReply: true });
      return r.success ? r.batchReply.sort().join() : 'nobody';
    };
    t.assert.equal(await who({ clientId: location.clientId }), '0,1,2');
    await all[0].unpublish(o);
    t.assert.deepEqual([await who(o), await who(location)], ['1,2', '0,1,2']);
    all[1].socket.destroy();
    await t.until(async () => await who(o) === '2', 20000, 'one being gone');
    await all[2].offline();
    t.assert.deepEqual([await who(o), await who(location)], ['nobody', '0']);
  },

  async 'tags by hand'(t) {
    const a = await t.raw(), name = t.name('o'), who = async (remote) => {
      const r = await a.invoke({ remote, broadcast: true, needReply: true });
      return r.success ? r.batchReply.map((x) => x.is).sort().join() : 'nobody';
    };
    const serve = async (is, ...selectors) => {
      const p = (await t.raw({ appName: t.name(is) })).serve(() => ({ is }));
      for (const s of selectors) await p.publish({ objectName: name, ...s });
      return p;
    };
    const one = await serve('one', { objectTag: 'v1' }, { objectTag: 'v1' });
    const both = await serve('both', { objectTag: 'v1' }, { objectTag: 'v2' });
    await serve('number', { objectTag: 1 });
    t.assert.equal(await who({ objectName: name, objectTag: 'v1' }), 'both,one', 'each once');
    t.assert.equal(await who({ objectName: name, objectTag: 'v2' }), 'both');
    t.assert.equal(await who({ objectName: name, objectTag: 'v3' }), 'nobody');
    t.assert.equal(await who({ objectName: name, objectTag: 1.0 }), 'number');
    t.assert.equal(await who({ objectName: name, objectTag: '1' }), 'nobody');
    t.assert.equal(await who({ objectName: name, objectTag: '' }), 'both,number,one', 'free');
    t.assert.equal(await who({ objectTag: 'v2', objectName: null }), 'both');
    t.assert.equal(await who({ objectTag: t.name('none') }), 'nobody', 'no name, no stand-in');
    await serve('plain', {});
    await serve('null', { objectTag: null });
    t.assert.equal(await who({ objectName: name, objectTag: 'v1' }), 'both,one', 'tags first');
    t.assert.equal(await who({ objectName: name, objectTag: 'v3' }), 'null,plain', 'stand in');
    t.assert.equal(await who({ objectName: name, objectTag: 'v3', appName: 'x' }), 'nobody');
    await both.unpublish({ objectName: name, objectTag: 'v1' });
    one.socket.destroy();
    await t.until(async () => await who({ objectName: name, objectTag: 'v1' }) === 'null,plain',
      20000, 'the stand-ins');
    t.assert.equal(await who({ objectName: name, objectTag: 'v2' }), 'both', 'the other tag stays');
  },

  async 'what was sent before the end is answered'(t) {
    const a = await t.raw(null, { allowHalfOpen: true }), app = t.name('a');
    (await t.raw({ appName: app })).serve((m) => m.n);
    for (let n = 0; n < 50; n++) a.up({ remote: { appName: app }, needReply: true, n });
    const online = a.body({ action: action('ONLINE_UP'), data: { host: { appName: t.name('x') } } });
    a.socket.end();
    t.assert.deepEqual(await a.reply(online), OK);
    await a.ended();
  },
};
