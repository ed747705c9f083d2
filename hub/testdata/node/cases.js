'use strict';
// What a user of Pandora's clients does with a hub, case by case. t is a Play of driver.js.
const crypto = require('node:crypto');

const where = (c) => ({ clientId: c.getLocation().clientId });
const failed = (promise) => promise.then(() => null, (e) => e);

module.exports = {
  async 'online and offline'(t) {
    const a = await t.client(), b = await t.client();
    const r = await a.invoke(where(b), 'echo', { data: 'here?' });
    t.assert.equal(r.data.echo.data, 'here?');
    await b.stop();
    t.nobody(await a.invoke(where(b), 'echo', {}));
    await b.start();
    t.assert.equal((await a.invoke(where(b), 'echo', {})).success, true);
  },

  async 'invoke carries everything both ways'(t) {
    const a = await t.client({ appName: t.name('a'), pid: '7' });
    const b = await t.client({ appName: t.name('b'), processName: 'worker' });
    const remote = { appName: b.getLocation().appName, processName: 'worker' };
    const r = await a.invoke(remote, 'echo', { data: { n: 1 }, extra: [null, 'kept'] });
    t.assert.deepEqual(r, {
      host: b.getLocation(), remote: a.getLocation(), success: true,
      data: { echo: { remote, action: 'echo', broadcast: false, data: { n: 1 },
        extra: [null, 'kept'], host: a.getLocation(), needReply: true } },
    });
  },

  async 'values keep their meaning'(t) {
    const a = await t.client(), b = await t.client();
    const values = [null, true, false, 0, -1, 0.1, 1e21, 5e-324, 2 ** 53, '', [], {}, [[{}]],
      'quote " backslash \\ nul \u0000 line \u2028 é 世界 \ud83d\ude00 half \ud83d',
      { 'b': 1, 'a': { '': [1, { 'é': null }] } }];
    const r = await a.invoke(where(b), 'echo', { data: values });
    t.assert.deepEqual(r.data.echo.data, values);
    t.assert.equal(JSON.stringify(r.data.echo.data), JSON.stringify(values));
  },

  async 'an unknown selector is shown'(t) {
    const a = await t.client(), remote = { appName: t.name('none'), pid: 'é "1"' };
    const r = await a.invoke(remote, 'echo', {});
    t.nobody(r);
    t.assert.ok(r.error.message.endsWith(JSON.stringify(remote)), r.error.message);
    t.assert.equal(await a.multipleInvoke(remote, 'echo', {}), undefined);
  },

  async 'publish and unpublish'(t) {
    const a = await t.client(), b = await t.client(), objectName = t.name('o');
    t.nobody(await a.invoke({ objectName }, 'echo', {}));
    await b.publish({ ...b.getLocation(), objectName });
    await b.publish({ ...b.getLocation(), objectName: objectName + '-2' });
    t.assert.deepEqual((await a.invoke({ objectName }, 'echo', {})).host, b.getLocation());
    await b.unpublish({ objectName });
    t.nobody(await a.invoke({ objectName }, 'echo', {}));
    t.assert.equal((await a.invoke({ objectName: objectName + '-2' }, 'echo', {})).success, true);
    t.assert.equal((await a.invoke(where(b), 'echo', {})).success, true);
  },

  async 'calls go round'(t) {
    const a = await t.client(), appName = t.name('app'), hits = [0, 0, 0, 0];
    for (const i of hits.keys()) {
      t.serve(await t.client({ appName }), 'job', () => { hits[i]++; return { i }; });
    }
    for (let n = 0; n < 40; n++) await a.invoke({ appName }, 'job', {});
    t.assert.deepEqual(hits, [10, 10, 10, 10]);
  },

  async 'multipleInvoke has a reply of each'(t) {
    const a = await t.client(), appName = t.name('app');
    for (const processName of ['one', 'two', 'three']) {
      t.serve(await t.client({ appName, processName }), 'job', (m) => ({ is: processName + m.data }));
    }
    for (let n = 0; n < 20; n++) {
      const all = await a.multipleInvoke({ appName }, 'job', { data: n });
      t.assert.deepEqual(all.map((r) => r.data.is).sort(), ['one' + n, 'three' + n, 'two' + n]);
      for (const r of all) t.assert.deepEqual(r.remote, a.getLocation());
    }
  },

  async 'send, multipleSend, broadcast'(t) {
    const a = await t.client(), appName = t.name('app'), got = [], note = t.name('note');
    const others = [await t.client({ appName }), await t.client({ appName }), await t.client()];
    others.forEach((c, i) => c.on(note, (m) => got.push(`${i}:${m.data}`)));
    a.on(note, (m) => got.push('a:' + m.data));
    a.send({ appName }, note, { data: 'one' });
    a.multipleSend({ appName }, note, { data: 'both' });
    a.multipleSend(null, note, { data: 'all' });
    await t.until(() => got.length >= 7, 20000, 'seven deliveries');
    await t.sleep(30);
    t.assert.deepEqual(got.filter((g) => g.endsWith('both')).sort(), ['0:both', '1:both']);
    t.assert.deepEqual(got.filter((g) => g.endsWith('all')).sort(),
      ['0:all', '1:all', '2:all', 'a:all']);
    t.assert.equal(got.filter((g) => g.endsWith('one')).length, 1);
  },

  async 'sends arrive in their order'(t) {
    const a = await t.client(), b = await t.client(), got = [];
    b.on('seq', (m) => got.push(m.data));
    for (let n = 0; n < 2000; n++) a[n % 3 ? 'send' : 'multipleSend'](where(b), 'seq', { data: n });
    await t.until(() => got.length === 2000, 20000, '2000 deliveries');
    t.assert.equal(got.findIndex((x, n) => x !== n), -1);
  },

  async 'a thousand calls at once'(t) {
    const appName = t.name('app'), callers = [];
    for (let i = 0; i < 3; i++) {
      t.serve(await t.client({ appName }), 'square', (m) => ({ of: m.data, is: m.data ** 2 }));
    }
    for (let i = 0; i < 4; i++) callers.push(await t.client());
    await Promise.all(callers.flatMap((c, i) => [...Array(250).keys()].map(async (n) => {
      const x = i * 1000 + n + 1;
      t.assert.deepEqual((await c.invoke({ appName }, 'square', { data: x })).data,
        { of: x, is: x * x });
    })));
  },

  async 'four megabytes there and back'(t) {
    const a = await t.client(), b = await t.client();
    const text = crypto.randomBytes(3 << 20).toString('base64');
    const r = await a.invoke(where(b), 'echo', { data: text });
    t.assert.ok(r.data.echo.data === text);
  },

  async 'an error of the provider'(t) {
    const a = await t.client(), b = await t.client();
    t.serve(b, 'pay', () => {
      throw Object.assign(new RangeError('no funds'), { code: 'E_FUNDS', details: { need: 5 } });
    });
    const r = await a.invoke(where(b), 'pay', {});
    t.assert.equal(r.success, false);
    t.assert.equal(r.error.message, 'no funds');
    t.assert.equal(r.error.code, 'E_FUNDS');
    t.assert.deepEqual(r.error.details, { need: 5 });
  },

  async 'a provider that never answers'(t) {
    const a = await t.client(), appName = t.name('app');
    t.serve(await t.client({ appName }), 'stall', () => new Promise(() => {}));
    t.serve(await t.client({ appName }), 'stall', () => ({ fine: true }));
    // Mostly the client's own clock is the first, but the hub's may be; both say the same.
    const one = await a.invoke({ appName }, 'stall', { timeout: 200 }).then((r) => r.error, (e) => e);
    t.assert.equal(one.name, 'MessengerRequestTimeoutError');
    t.assert.equal(one.message, 'target no response in 200ms');
    // The hub's clock has to be the faster one here, so the client is told another time.
    const all = await new Promise((done) => {
      const message = { remote: { appName }, action: 'stall', broadcast: true, timeout: 2000,
        needReply: true, host: a.getLocation() };
      a.messengerClient.send('PANDORA_HUB_ACTION_MSG_UP', message, (e, r) => done(r), 20000);
    });
    t.assert.deepEqual(all.batchReply.map((r) => (r.success ? r.data : r.error.message)),
      [{ fine: true }, 'target no response in 2000ms']);
  },

  async 'a client calls itself'(t) {
    const appName = t.name('app'), a = await t.client({ appName }), b = await t.client({ appName });
    t.serve(a, 'name', (m) => ({ is: 'a', of: m.data }));
    t.serve(b, 'name', () => ({ is: 'b' }));
    t.assert.deepEqual((await a.invoke(where(a), 'name', { data: 1 })).data, { is: 'a', of: 1 });
    const all = await a.multipleInvoke({ appName }, 'name', {});
    t.assert.deepEqual(all.map((r) => r.data.is).sort(), ['a', 'b']);
    // and its caller, before it answers
    t.serve(b, 'greet', async (m) => {
      const r = await b.invoke({ clientId: m.host.clientId }, 'name', { data: m.data });
      return { hello: r.data.of };
    });
    const deep = await Promise.all([...Array(50).keys()].map((n) =>
      a.invoke(where(b), 'greet', { data: n + 1 })));
    t.assert.deepEqual(deep.map((r) => r.data.hello), [...deep.keys()].map((n) => n + 1));
  },

  async 'fields of the message win'(t) {
    const a = await t.client(), b = await t.client(), c = await t.client();
    let r = await a.invoke(where(b), 'nothing', { action: 'echo', remote: where(c), data: 1 });
    t.assert.deepEqual([r.host, r.data.echo.data], [c.getLocation(), 1]);
    r = await a.invoke(where(b), 'echo', { broadcast: true });
    t.assert.deepEqual([r.success, r.remote, r.batchReply.length], [true, a.getLocation(), 1]);
    t.assert.deepEqual(r.batchReply[0].host, b.getLocation());
  },

  async 'results of every kind'(t) {
    const a = await t.client(), b = await t.client();
    let result;
    t.serve(b, 'give', () => result);
    for (result of ['text', 1, true, [], {}, [null], { a: undefined, b: [undefined] }, new Date(0),
      Buffer.from('x'), NaN, Infinity, { toJSON: () => 'own' }]) {
      const r = await a.invoke(where(b), 'give', {});
      const plain = result === undefined ? undefined : JSON.parse(JSON.stringify({ v: result })).v;
      // Pandora's clients take what is false for not handled
      t.assert.deepEqual(r.data, result ? plain : undefined);
    }
    for (result of [0, '', false, null, undefined]) {
      t.assert.equal('data' in await a.invoke(where(b), 'give', {}), false);
    }
    for (const thrown of ['text', 5, null, { code: 7 }]) {
      t.serve(b, 'throw' + String(thrown), () => { throw thrown; });
      const r = await a.invoke(where(b), 'throw' + String(thrown), {});
      t.assert.equal(r.success, false);
      t.assert.deepEqual(r.error, thrown);
    }
    t.serve(b, 'cause', () => { throw new Error('outer', { cause: new TypeError('inner') }); });
    const e = (await a.invoke(where(b), 'cause', {})).error;
    t.assert.deepEqual([e.message, e.cause.message], ['outer', 'inner']);
    t.assert.match(e.cause.stack, /^TypeError: inner/);
  },

  async 'clients with one location'(t) {
    const location = { appName: t.name('app'), processName: 'same', pid: '1' };
    const a = await t.client(), all = [];
    for (let n = 0; n < 3; n++) all.push(await t.client(location));
    t.assert.equal((await a.multipleInvoke(location, 'echo', {})).length, 3);
    await all[0].stop();
    t.assert.equal((await a.multipleInvoke(location, 'echo', {})).length, 2);
    await all[0].start();
    t.assert.equal((await a.multipleInvoke(location, 'echo', {})).length, 3);
  },

  async 'objects through a proxy'(t) {
    const p = await t.facade(), c = await t.facade(), name = t.name('math');
    await p.publish(Math, { name, tag: 'latest' });
    const consumer = c.getConsumer({ name, tag: 'latest' });
    const { methods, properties } = await consumer.introspect();
    t.assert.ok(methods.some((m) => m.name === 'hypot' && m.type === 'function'));
    t.assert.ok(properties.some((m) => m.name === 'PI' && m.type === 'number'));
    t.assert.equal(await consumer.invoke('max', [3, 11, 5]), 11);
    const proxy = await c.getProxy({ name, tag: 'latest' });
    t.assert.equal(await proxy.sign(-3), -1);
    t.assert.equal(await proxy.getProperty('E'), Math.E);
    t.assert.ok(await failed(consumer.invoke('nothing', [])));
  },

  async 'tags of objects count'(t) {
    const name = t.name('o'), c = await t.facade();
    await (await t.facade()).publish({ who: () => 'one' }, { name, tag: 'v1' });
    await (await t.facade()).publish({ who: () => 'two' }, { name, tag: 'v2' });
    for (const tag of ['v2', 'v2', 'v1', 'v2', 'v1', 'v1', 'v1', 'v2', 'v2']) {
      const got = await c.getConsumer({ name, tag }).invoke('who', []);
      t.assert.equal(got, tag === 'v1' ? 'one' : 'two');
    }
    const error = await failed(c.getConsumer({ name, tag: 'v3' }).introspect());
    t.nobody({ success: false, error });
    await (await t.facade()).publish({ who: () => 'any' }, { name });
    t.assert.equal(await c.getConsumer({ name, tag: 'v3' }).invoke('who', []), 'any');
  },

  async 'subscriptions'(t) {
    const p = await t.facade(), name = t.name('feed'), got = [], log = [];
    let push;
    await p.publish({
      subscribe(what, callback) { log.push('+' + what); push = callback; },
      unsubscribe(what) { log.push('-' + what); },
    }, { name });
    const one = await (await t.facade()).getProxy({ name });
    const two = await (await t.facade()).getProxy({ name });
    await one.subscribe('price', (...x) => got.push(['one', ...x]));
    await two.subscribe('price', (...x) => got.push(['two', ...x]));
    await push('ACME', 12.5, null);
    t.assert.deepEqual(got.sort(), [['one', 'ACME', 12.5, null], ['two', 'ACME', 12.5, null]]);
    await one.unsubscribe('price');
    await push('ACME', 13);
    t.assert.deepEqual(got.slice(2), [['two', 'ACME', 13]]);
    await two.unsubscribe('price');
    t.assert.deepEqual(log, ['+price', '-price']);
  },

  async 'the config manager'(t) {
    const m = await t.facade(), c = await t.facade(), got = [];
    await m.initConfigManager();
    await c.initConfigClient();
    const manager = m.getConfigManager(), client = c.getConfigClient();
    await manager.publish('db', { url: 'one' });
    t.assert.deepEqual(await client.getConfig('db'), { url: 'one' });
    await client.subscribe('db', (x) => got.push(x));
    await manager.publish('db', { url: 'two' });
    await client.unsubscribe('db');
    await manager.publish('db', 'unheard');
    t.assert.deepEqual(got, [{ url: 'one' }, { url: 'two' }]);
  },

  // The test has a Go client at the hub, too, which publishes the object gopher.
  async 'Go answers Node'(t) {
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    t.assert.equal(await gopher.invoke('sum', [2, 40.5]), 42.5);
    const value = { deep: [1, null, { text: 'é 世界 \u2028 "', no: false }], zero: 0 };
    t.assert.deepEqual(await gopher.invoke('give', [value]), value);
    t.assert.equal(await gopher.invoke('give', [0]), 0);
    const text = crypto.randomBytes(1 << 20).toString('base64');
    t.assert.ok(await gopher.invoke('give', [text]) === text);
    t.assert.match((await failed(gopher.invoke('nothing', []))).message, /nothing/);
    const a = await t.client(), r = await a.invoke({ appName: 'go' }, 'echo', { data: 7 });
    t.assert.equal(r.host.appName, 'go');
    t.assert.deepEqual(r.remote, a.getLocation());
    t.assert.deepEqual(r.data.echo, { remote: { appName: 'go' }, action: 'echo', broadcast: false,
      data: 7, host: a.getLocation(), needReply: true });
    const all = await Promise.all([...Array(300).keys()].map((n) => gopher.invoke('sum', [n, 1])));
    t.assert.deepEqual(all, [...Array(300).keys()].map((n) => n + 1));
  },

  // gopher calls the method that it is told to, and gives what came of it.
  async 'Go calls Node'(t) {
    const p = await t.facade(), name = t.name('o');
    await p.publish({
      hypot: Math.hypot,
      async give(x) { await t.sleep(1); return x; },
      fail() { throw Object.assign(new RangeError('no funds'), { code: 'E_FUNDS' }); },
    }, { name, tag: 'v1' });
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    const call = (...args) => gopher.invoke('call', [name, 'v1', ...args]);
    t.assert.deepEqual(await call('hypot', [3, 4]), { data: 5 });
    const value = { deep: [1, null, { text: 'é 世界 \u2028 "' }] };
    t.assert.deepEqual(await call('give', [value]), { data: value });
    const { error } = await call('fail', []);
    t.assert.equal(error.message, 'no funds');
    t.assert.equal(error.code, 'E_FUNDS');
    const none = await gopher.invoke('call', [name, 'v2', 'hypot', []]);
    t.assert.match(none.error.message, /^Cannot found any clients by selector/);
  },

  async 'a client that is killed'(t) {
    const appName = t.name('app'), a = await t.client(), other = await t.client({ appName });
    t.serve(other, 'stall', () => ({ fine: true }));
    const child = await t.child({ appName, processName: 'doomed' });
    const doomed = { appName, processName: 'doomed' };
    t.assert.equal((await a.invoke(doomed, 'pid', {})).data.pid, child.pid);
    const call = a.invoke(doomed, 'stall', { timeout: 60000 });
    const both = a.multipleInvoke({ appName }, 'stall', { timeout: 60000 });
    await child.hears('stalling');
    child.kill('SIGKILL');
    const r = await t.within(20000, call, 'the answer to a call of a dead provider');
    t.assert.equal(r.success, false);
    t.assert.equal(r.error.message, 'target disconnected before it answered');
    const all = await t.within(20000, both, 'the answer of both');
    t.assert.deepEqual(all.map((x) => x.success).sort(), [false, true]);
    t.nobody(await a.invoke(doomed, 'pid', {}));
    t.assert.deepEqual((await a.invoke({ appName }, 'echo', {})).host, other.getLocation());
  },

  async 'a client that writes nonsense'(t) {
    const a = await t.client(), b = await t.client(), appName = b.getLocation().appName;
    const bad = await t.client({ appName });
    bad.messengerClient._connect = () => {};
    bad.messengerClient._socket.write(Buffer.from('000000000100000003'.concat('7b7b7b'), 'hex'));
    await t.until(async () => (await a.multipleInvoke({ appName }, 'echo', {})).length === 1, 20000,
      'the route being forgotten');
    t.assert.equal((await a.invoke(where(b), 'echo', {})).success, true);
  },

  async 'the hub starts again'(t) {
    const appName = t.name('app'), objectName = t.name('o');
    const a = await t.client({ appName }), b = await t.client({ appName });
    await b.publish({ ...b.getLocation(), objectName });
    t.assert.equal((await a.invoke({ objectName }, 'echo', {})).success, true);
    await t.hub('restart');
    const again = () => a.invoke({ objectName }, 'echo', { timeout: 500 })
      .then((r) => r.success, () => false);
    await t.until(again, 20000, 'the object being there again');
    t.assert.deepEqual((await a.invoke({ objectName }, 'echo', {})).host, b.getLocation());
    const both = () => b.multipleInvoke({ appName }, 'echo', { timeout: 500 })
      .then((r) => r.length === 2, () => false);
    await t.until(both, 20000, 'both being there again');
  },

  // The client comes again by itself: what it has queued meanwhile goes first, then it comes online
  // and publishes, and is there once.
  async 'a connection that breaks'(t) {
    const appName = t.name('app'), objectName = t.name('o');
    const a = await t.client(), b = await t.client({ appName }), got = [];
    await b.publish({ ...b.getLocation(), objectName });
    a.on('note', (m) => got.push(m.data));
    const call = a.invoke(where(b), 'stall', { timeout: 60000 });
    t.serve(b, 'stall', () => new Promise(() => {}));
    await t.sleep(20);
    const m = b.messengerClient;
    let back = false;
    m._connect = () => { back = true; }; // not before it is told
    m._socket.destroy();
    const gone = t.within(20000, call, 'the answer to a call of a lost provider');
    for (let n = 0; n < 5; n++) b.send(where(a), 'note', { data: n });
    const late = b.invoke(where(a), 'echo', { data: 'late', timeout: 20000 });
    t.assert.equal((await gone).success, false);
    t.nobody(await a.invoke({ objectName }, 'echo', {}));
    await t.until(() => back, 20000, 'it to come again');
    delete m._connect;
    m._connect();
    t.assert.equal((await late).data.echo.data, 'late');
    t.assert.deepEqual(got, [0, 1, 2, 3, 4]);
    await t.until(async () => (await a.invoke({ objectName }, 'echo', {})).success, 20000, 'the object');
    for (const remote of [{ objectName }, { appName }, where(b)]) {
      t.assert.equal((await a.multipleInvoke(remote, 'echo', {})).length, 1);
    }
  },

  // Together they are more than waits for a peer that does not read: this one is only busy.
  async 'large bodies of many at once'(t) {
    const b = await t.client(), callers = [];
    for (let i = 0; i < 5; i++) callers.push(await t.client());
    const text = 'k'.repeat(4 << 20);
    t.serve(b, 'length', (m) => ({ of: m.n, is: m.data.length }));
    await Promise.all(callers.flatMap((a, i) => [...Array(6).keys()].map(async (k) => {
      const n = i * 10 + k, message = { data: text, n, timeout: 50000 };
      t.assert.deepEqual((await a.invoke(where(b), 'length', message)).data, { of: n, is: 4 << 20 });
    })));
  },
};
