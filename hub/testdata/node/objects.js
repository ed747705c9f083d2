'use strict';
// Objects of Go and of Node, both ways. The test has a Go client at the hub that publishes the object
// gomath (tag latest), and gopher, which uses objects as it is told. t is a Play of driver.js.

const failed = (promise) => promise.then((x) => { throw new Error('no error, but ' + x); }, (e) => e);

module.exports = {
  async 'Node calls an object of Go'(t) {
    const c = await t.facade(), consumer = c.getConsumer({ name: 'gomath', tag: 'latest' });
    const { methods, properties } = await consumer.introspect();
    const abs = methods.find((m) => m.name === 'abs');
    t.assert.deepEqual([abs.length, abs.type], [1, 'function']);
    t.assert.deepEqual(properties.find((p) => p.name === 'pi'), { name: 'pi', type: 'number' });
    t.assert.ok(!methods.some((m) => /subscribe/i.test(m.name)));
    const math = await c.getProxy({ name: 'gomath', tag: 'latest' });
    t.assert.equal(await math.abs(-3.5), 3.5);
    t.assert.equal(await math.abs(-0), 0);
    t.assert.equal(await math.add(2, 40), 42);
    t.assert.equal(await math.join('-', 'a', 'é', '😀'), 'a-é-😀');
    t.assert.deepEqual(await math.split(2.5), [2, 0.5]);
    t.assert.deepEqual(await math.mirror({ x: 1, y: 2 }), { x: 2, y: 1 });
    t.assert.deepEqual(await math.any({ deep: [null, { ok: true }] }), { deep: [null, { ok: true }] });
    t.assert.equal(await math.nothing(), undefined);
    t.assert.equal(await math.getProperty('pi'), Math.PI);
    t.assert.equal(await math.getProperty('owner'), 'Ada');
    t.assert.throws(() => math.pi, /getProperty\('pi'\)/);
    t.assert.equal(await consumer.invoke('Abs', [-1]), 1, 'by its name in Go');
    t.assert.equal(await c.getConsumer({ name: 'gomath' }).invoke('abs', [-1]), 1, 'of any tag');
    t.assert.deepEqual(await math.bytes(1, 'x'), [1, 'x']);
    const all = await Promise.all([...Array(300).keys()].map((n) => math.add(n, 1)));
    t.assert.deepEqual(all, [...Array(300).keys()].map((n) => n + 1));
  },

  async 'an object of Go says what is wrong'(t) {
    const c = await t.facade(), math = c.getConsumer({ name: 'gomath', tag: 'latest' });
    let e = await failed(math.invoke('nope', []));
    t.assert.equal(e.name, 'TypeError');
    t.assert.equal(e.code, 'ERR_NO_METHOD');
    t.assert.match(e.message, /gomath has no method nope; it has abs\(float64\) float64, add/);
    e = await failed(math.invoke('abs', ['x']));
    t.assert.equal(e.code, 'ERR_ARGUMENTS');
    t.assert.match(e.message, /abs\(float64\) float64: argument 1: "x" is not a float64/);
    e = await failed(math.invoke('add', [1]));
    t.assert.match(e.message, /add\(int, int\) int: arguments: 1, wanted 2/);
    e = await failed(math.invoke('pay', [7]));
    t.assert.deepEqual([e.name, e.code, e.message], ['FundsError', 'E_FUNDS', 'no funds, need 7']);
    t.assert.equal(e.stack, 'FundsError: no funds, need 7');
    e = await failed(math.invoke('boom', []));
    t.assert.equal(e.code, 'ERR_PANIC');
    t.assert.match(e.message, /gomath.boom panicked: at the disco/);
    e = await failed(math.invoke('bad', []));
    t.assert.equal(e.code, 'ERR_RESULT');
    e = await failed(math.getProperty('nope'));
    t.assert.match(e.message, /gomath has no property nope; it has owner, pi/);
    t.assert.equal(await math.invoke('abs', [-2]), 2, 'goes on');
    t.nobody({ success: false, error: await failed(c.getConsumer({ name: 'none' }).invoke('x', [])) });
    const slow = c.getConsumer({ name: 'gomath', tag: 'latest' }, {});
    slow.timeout = 200;
    t.assert.equal((await failed(slow.invoke('wait', []))).name, 'MessengerRequestTimeoutError');
    slow.timeout = undefined;
  },

  async 'Go calls an object of Node'(t) {
    const p = await t.facade(), name = t.name('o');
    class Shop {
      constructor() { this.owner = 'Bea'; this.zero = 0; }
      async give(x) { await t.sleep(1); return x; }
      hypot(...x) { return Math.hypot(...x); }
      fail() { throw Object.assign(new RangeError('no funds'), { code: 'E_FUNDS', details: [5] }); }
      text() { throw 'just text'; }
      *gen() { yield 1; }
    }
    await p.publish(Shop, { name, tag: 'v1' });
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    const call = (method, ...args) => gopher.invoke('call', [name, 'v1', method, args]);
    t.assert.deepEqual(await call('hypot', 3, 4), { data: 5 });
    const value = { deep: [1, null, { text: 'é 世界 \u2028 "' }] };
    t.assert.deepEqual(await call('give', value), { data: value });
    t.assert.deepEqual(await call('fail'), { name: 'Error', message: 'no funds', code: 'E_FUNDS',
      details: true });
    t.assert.equal((await call('text')).message, 'just text');
    t.assert.match((await call('nope')).message, /Cannot found method called nope/);
    t.assert.deepEqual(await gopher.invoke('get', [name, 'v1', 'owner']), { data: 'Bea' });
    const { methods } = await gopher.invoke('introspect', [name, 'v1']);
    t.assert.deepEqual(methods.map((m) => m.name).sort(), ['fail', 'gen', 'give', 'hypot', 'text']);
    t.assert.equal(methods.find((m) => m.name === 'gen').type, 'generator');
    t.assert.match((await gopher.invoke('call', ['none', '', 'x', []])).message, /Cannot found|none/);
    // an error of Node passes through Go as it was
    const e = await failed(gopher.invoke('relay', [name, 'v1', 'fail', []]));
    t.assert.deepEqual([e.message, e.code, e.details], ['no funds', 'E_FUNDS', [5]]);
    t.assert.match(e.stack, /^RangeError: no funds\n/);
  },

  async 'Node listens to Go'(t) {
    const got = [], x = await (await t.facade()).getProxy({ name: 'gomath', tag: 'latest' });
    const y = await (await t.facade()).getProxy({ name: 'gomath', tag: 'latest' });
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    const topic = t.name('topic'), emit = (...args) => gopher.invoke('emit', [topic, ...args]);
    await emit('unheard');
    const one = (...a) => got.push(['one', ...a]);
    await x.subscribe(topic, one);
    await x.subscribe(topic, (...a) => got.push(['too', ...a]));
    await y.subscribe(topic, (...a) => got.push(['two', ...a]));
    await emit('ACME', 12.5, null, { up: true });
    await t.until(() => got.length === 3, 20000, 'three pushes');
    t.assert.deepEqual(got.sort(), ['one', 'too', 'two'].map((n) => [n, 'ACME', 12.5, null, { up: true }]));
    got.length = 0;
    await x.unsubscribe(topic, one);
    for (let n = 0; n < 100; n++) await emit(n);
    await t.until(() => got.length === 200, 20000, 'two hundred pushes');
    const two = got.filter((g) => g[0] === 'two');
    t.assert.deepEqual(two.map((g) => g[1]), [...two.keys()], 'in order');
    await x.unsubscribe(topic);
    await y.unsubscribe(topic);
    const log = await gopher.invoke('log', []);
    t.assert.deepEqual(log.filter((l) => l.endsWith(topic)), ['+' + topic, '-' + topic]);
  },

  async 'Go listens to Node'(t) {
    const p = await t.facade(), name = t.name('feed'), log = [], push = {};
    await p.publish({
      subscribe(what, callback) { log.push('+' + what); push[what] = callback; },
      unsubscribe(what) { log.push('-' + what); },
    }, { name, tag: 'v1' });
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    await gopher.invoke('listen', [name, 'v1', 'price']);
    await gopher.invoke('listen', [name, 'v1', 'price']);
    await push.price('ACME', 12.5, null);
    await push.price([], {});
    t.assert.deepEqual(await gopher.invoke('heard', [name]),
      [['ACME', 12.5, null], ['ACME', 12.5, null], [[], {}], [[], {}]]);
    await gopher.invoke('stop', [name]);
    t.assert.deepEqual(log, ['+price', '-price']);
    await push.price('late');
    t.assert.equal((await gopher.invoke('heard', [name])).length, 4);
    t.assert.match((await failed(gopher.invoke('listen', ['none', '', 'x']))).message, /nobody serves/);
  },

  async 'the config of Go, read by Node'(t) {
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    await gopher.invoke('serveConfig', []);
    const set = (topic, value) => gopher.invoke('setConfig', [topic, value]);
    await set('db', { url: 'one' });
    const clients = [], got = [[], []];
    for (const all of got) {
      const f = await t.facade();
      await f.initConfigClient();
      clients.push(f.getConfigClient());
      t.assert.deepEqual(await f.getConfigClient().getConfig('db'), { url: 'one' });
      await f.getConfigClient().subscribe('db', (x) => all.push(x));
    }
    await set('db', { url: 'two' });
    await set('log_a', 1);
    await t.until(() => got.every((g) => g.length === 2), 20000, 'both to hear');
    for (const all of got) t.assert.deepEqual(all, [{ url: 'one' }, { url: 'two' }]);
    t.assert.deepEqual(await clients[0].getConfig(), { db: { url: 'two' }, log_a: 1 });
    t.assert.equal(await clients[0].getConfig('none'), undefined);
    const manager = (await t.facade()).getConsumer({ name: '__PANDORA_HUB_CONFIG_MANAGER' });
    t.assert.deepEqual(await manager.invoke('getAllTopics', ['log_']), ['log_a']);
    t.assert.deepEqual(await manager.invoke('getAllTopics', []), ['db', 'log_a']);
    t.assert.deepEqual(await manager.invoke('getAllSubscribedTopics', []), ['db']);
    await clients[0].unsubscribe('db');
    t.assert.deepEqual(await manager.invoke('getAllSubscribedTopics', []), ['db'], 'the other one');
    await manager.invoke('publish', ['db', 'three']);
    await t.until(() => got[1].length === 3, 20000, 'the other one to hear');
    t.assert.deepEqual([got[0].length, got[1][2]], [2, 'three']);
    await clients[1].unsubscribe('db');
    t.assert.deepEqual(await manager.invoke('getAllSubscribedTopics', []), []);
    await gopher.invoke('closeConfig', []);
  },

  async 'the config of Node, read by Go'(t) {
    const m = await t.facade();
    await m.initConfigManager();
    const manager = m.getConfigManager();
    await manager.publish('db', { url: 'one' });
    const gopher = (await t.facade()).getConsumer({ name: 'gopher' });
    await gopher.invoke('followConfig', ['db']);
    await manager.publish('db', { url: 'two' });
    await manager.publish('other', 5);
    await t.until(async () => (await gopher.invoke('followed', [])).length === 2, 20000, 'two values');
    t.assert.deepEqual(await gopher.invoke('followed', []), [{ url: 'one' }, { url: 'two' }]);
    t.assert.deepEqual(await gopher.invoke('config', ['other']), 5);
    t.assert.deepEqual(manager.getAllSubscribedTopics(), ['db']);
    await gopher.invoke('unfollowConfig', []);
    t.assert.deepEqual(manager.getAllSubscribedTopics(), []);
    await m.getHubClient().unpublish({ objectName: '__PANDORA_HUB_CONFIG_MANAGER' });
  },
};
