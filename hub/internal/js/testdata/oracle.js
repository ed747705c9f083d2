'use strict';
// What JavaScript itself makes of bodies and values. Reads {bodies, values}, both lists of base64,
// from stdin; writes the answers of JSON.parse and of the language's operators as JSON.
const input = JSON.parse(require('fs').readFileSync(0));
const bytes = (s) => Buffer.from(s, 'base64');

// JSON.parse of a Buffer decodes it as UTF-8 first, as Pandora does.
const parses = (b) => { try { JSON.parse(b); return true; } catch (e) { return false; } };

const parseAll = () => input.values.map((s) => JSON.parse(bytes(s)));
const values = parseAll(), others = parseAll(); // so that no object is compared with itself
const unit = (c) => c.charCodeAt(0);
process.stdout.write(JSON.stringify({
  valid: input.bodies.map((s) => parses(bytes(s))),
  clean: input.bodies.map((s) => Buffer.from(bytes(s).toString('utf8')).toString('base64')),
  truthy: values.map(Boolean),
  number: values.map((v) => String(Number(v))),
  string: values.map((v) => String(v)),
  // the UTF-16 units of strings, so that lone surrogates come through
  units: values.map((v) => (typeof v === 'string' ? v.split('').map(unit) : null)),
  json: values.map((v) => JSON.stringify(v)),
  equal: values.map((a) => others.map((b) => a === b)),
}));
