// real.js SEED BYTES: the node part of real.py: an array of objects; "change" replaces about a tenth.
let state = BigInt(process.argv[2]) + 88172645463325252n;
function random(n) {                     // xorshift64, so that a seed repeats
    state ^= (state << 13n) & 0xffffffffffffffffn; state ^= state >> 7n; state ^= (state << 17n) & 0xffffffffffffffffn;
    return Number(state % BigInt(n));
}
const letters = 'aeioulnrstdkmpgbhv';
const words = [];
for (let i = 0; i < 4000; i++) { let w = ''; for (let n = 2 + random(9); n > 0; n--) w += letters[random(18)]; words.push(w); }
let quick = random(1 << 30);
const fast = n => { quick = (Math.imul(quick, 1103515245) + 12345) & 0x7fffffff; return (quick >> 8) % n; };
function text(n) { const t = []; while (n-- > 0) t.push(words[fast(4000)]); return Buffer.from(t.join(' ')).toString(); }
function record(i) { return { id: i, price: fast(100000) / 7, name: text(2), tags: text(4).split(' '), stock: fast(1000000), text: text(30 + fast(80)) }; }
const records = [];
for (let i = 0, n = Math.floor(Number(process.argv[3]) / 950); i < n; i++) records.push(record(i));
console.log('ready');
require('readline').createInterface({ input: process.stdin }).on('line', () => {
    const start = fast(records.length);
    for (let i = 0; i < records.length / 12; i++) records[(start + i) % records.length] = record(i);
    for (let i = 0; i < records.length / 500; i++) records[fast(records.length)].stock++;
    console.log('changed');
});
