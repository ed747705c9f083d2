'use strict';
// A process with Pandora's own client that publishes an object, for the tests of the verbs.
const path = require('node:path');
const load = require('node:module').createRequire(path.join(process.env.PACKAGES, 'package.json'));
const { HubFacade } = load('pandora-hub');

async function main() {
  const hub = new HubFacade();
  hub.setup({ location: { appName: 'node-app', processName: 'worker' } });
  await hub.start();
  await hub.publish({
    shout: (text) => text.toUpperCase() + '!',
    fail: () => { throw new TypeError('not today'); },
    silent: () => new Promise(() => {}),
  }, { name: 'shouter' });
  console.log('ready');
  process.stdin.on('end', () => process.exit(0)).resume();
}

main().catch((e) => { console.error(e.stack); process.exit(1); });
