// Publishes an object for Go to call, and calls the one that Go has published.
const { HubFacade } = require('pandora-hub');

async function main() {
  const hub = new HubFacade();
  hub.setup({ location: { appName: 'node-app' } });
  await hub.start();
  await hub.publish({ shout: (text) => text.toUpperCase() + '!' }, { name: 'shouter' });
  console.log('shouter is there');

  console.log(await hub.getConsumer({ name: 'greeter' }).invoke('hello', ['Node']));
  setInterval(() => {}, 1000); // stay, to be called: the hub's connection keeps no process alive
}

main().catch((e) => { console.error(e.message); process.exit(1); });
