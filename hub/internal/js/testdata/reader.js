'use strict';
// What JavaScript makes of bodies: reads them from stdin, each after its length as four bytes, and
// writes a line of JSON for each.
let rest = Buffer.alloc(0);

// plain is v with what String makes of objects in their place, which their members could change
function plain(v) {
  if (Array.isArray(v)) return v.map(plain);
  return v !== null && typeof v === 'object' ? '[object Object]' : v;
}

// of is what the language's own conversions make of a value
function of(v) {
  if (v === undefined) return null;
  const text = String(plain(v));
  return { Truthy: Boolean(v), Number: String(Number(plain(v))), JSON: JSON.stringify(v),
    Units: Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)) };
}

function read(body) {
  const r = { Valid: false, Clean: Buffer.from(body.toString('utf8')).toString('base64') };
  let v;
  try { v = JSON.parse(body); } catch (e) { return r; }
  r.Valid = true;
  if (v === null || typeof v !== 'object' || Array.isArray(v)) v = {};
  const own = (k) => (Object.prototype.hasOwnProperty.call(v, k) ? v[k] : undefined);
  const a = own('a'), b = own('b');
  return { ...r, A: of(a), B: of(b), Equal: a === b };
}

process.stdin.on('data', (bytes) => {
  rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
  while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
    const end = 4 + rest.readUInt32BE(0);
    process.stdout.write(JSON.stringify(read(rest.subarray(4, end))) + '\n');
    rest = rest.subarray(end);
  }
});
