'use strict';
// A process of the scenarios with Pandora's own clients, from the package pandora-hub:
//
//   node peer.js hub                   the genuine hub
//   node peer.js provider              a client that answers "echo", as all of them do
//   node peer.js caller UNDER_WAY      a client that keeps so many calls of it under way
//
// It says {} when it is ready, answers requests as the other processes of a run do (child.go), and
// ends with its input.
const path = require('node:path');
const readline = require('node:readline');
const load = require('node:module').createRequire(path.join(process.env.PACKAGES, 'package.json'));
const { HubClient, HubServer } = load('pandora-hub');

const [role, underWay] = process.argv.slice(2);
const quiet = { error() {}, log() {}, info() {}, warn() {} };
const payload = 'x'.repeat(64);
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const fail = (e) => { console.error(String((e && e.stack) || e)); process.exit(1); };

// usage is what the process has used so far; cpu in ns
function usage() {
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) * 1000 };
}

let recording = false, times = []; // of the calls that ended since "begin", in us

async function call(client) {
  for (;;) {
    const began = performance.now();
    const r = await client.invoke({ appName: 'provider' }, 'echo', { data: payload });
    if (!r.success || r.data.echo.data !== payload) {
      throw new Error('not the echo: ' + JSON.stringify(r));
    }
    if (recording) times.push(Math.round((performance.now() - began) * 1000));
  }
}

async function main() {
  if (role === 'hub') {
    await new HubServer().start();
  } else {
    const client = new HubClient({ location: { appName: role }, logger: quiet });
    await client.start();
    for (let i = 0; role === 'caller' && i < Number(underWay); i++) call(client).catch(fail);
  }
  say({});
  let from, began;
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'begin') {
      times = [];
      from = usage();
      began = performance.now();
      recording = true;
      say({});
    } else {
      recording = false;
      const elapsedUs = Math.round((performance.now() - began) * 1000);
      say({ from, to: usage(), elapsed_us: elapsedUs, call_us: times });
    }
  }).on('close', () => process.exit(0));
}

main().catch(fail);
