// Publishes the object cart, calls the bank that Go has published, and hears of its changes.
const { HubFacade } = require('pandora-hub');

const cart = {
  items: [],
  add(item) {
    this.items.push(item);
    if (this.tell) this.tell(item.sku);
    return this.items.reduce((sum, x) => sum + x.price, 0);
  },
  subscribe(topic, tell) { this.tell = tell; },
  unsubscribe() { this.tell = undefined; },
};

async function main() {
  const hub = new HubFacade();
  hub.setup({ location: { appName: 'node-app' } });
  await hub.start();
  await hub.publish(cart, { name: 'cart' });

  const bank = await hub.getProxy({ name: 'bank' });
  let hear;
  const heard = new Promise((done) => { hear = done; });
  await bank.subscribe('bea', hear);
  await bank.deposit('bea', 700);
  console.log('bea has', await heard);
  try {
    await bank.deposit('bea', -701);
  } catch (e) {
    console.log(e.name, e.code, e.message);
  }
  console.log('in', await bank.getProperty('currency'));
  console.log('cart is there');
  setInterval(() => {}, 1000); // stay, to be called: the hub's connection keeps no process alive
}

main().catch((e) => { console.error(e.message); process.exit(1); });
