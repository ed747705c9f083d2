'use strict';
// A process with one client, which a case can kill:  node provider.js VERSION LOCATION
const path = require('node:path');
const load = require('node:module').createRequire(path.join(process.env.CLIENTS, 'package.json'));

const [version, location] = process.argv.slice(2);
const { HubClient } = load('hub-v' + version);
const quiet = { error() {}, log() {}, info() {}, warn() {} };
console.error = () => {};
process.on('disconnect', () => process.exit(0));

const client = new HubClient({ location: JSON.parse(location), logger: quiet });
client.pushDispatchHandler({
  dispatch(m) {
    if (m.action === 'pid') return { pid: process.pid };
    if (m.action !== 'stall') return undefined;
    process.send('stalling');
    return new Promise(() => {});
  },
});
client.start().then(() => process.send('ready'));
