// A scan program in about 30 lines, with Node's standard library alone: does the start page send the usual security headers?
'use strict';
const http = require('node:http');
const readline = require('node:readline');

const EXPECTED = { 'content-security-policy': 693, 'x-content-type-options': 693, 'x-frame-options': 1021 }; // header: CWE
const say = (line, then) => process.stdout.write(JSON.stringify(line) + '\n', then);
// The coverage is the last line, and the process ends once it is written.
const end = (code, reasons, pages = 0) =>
  say({ type: 'coverage', complete: reasons.length === 0, reasons, pages }, () => process.exit(code));

function look(url, answer) {
  if (answer.headers['x-guard-refusal']) return end(30, [`invalid_order: the guard refuses the start page: ${answer.headers['x-guard-refusal']}`]);
  if ([401, 403].includes(answer.statusCode)) return end(11, [`auth_failed: status ${answer.statusCode}`]);
  if (answer.statusCode >= 400) return end(10, [`target_unreachable: status ${answer.statusCode}`]);
  for (const [header, cweId] of Object.entries(EXPECTED).filter(([name]) => !(name in answer.headers))) {
    say({ type: 'finding', finding: { title: `Missing header ${header}`, severity: 'low', cweId, url, evidence: `Status ${answer.statusCode}` } });
  }
  say({ type: 'progress', percent: 100, requests: 1 });
  end(0, answer.statusCode >= 300 ? ['redirect: the start page leads elsewhere, which was not followed'] : [], 1);
}

function scan(line) {
  let url, guard;
  try {
    const order = JSON.parse(line);
    [url, guard] = [new URL(order.target.scanUrl), order.proxySocket];
    if (typeof guard !== 'string') throw new TypeError();
  } catch {
    return end(30, ['invalid_order: the first line of standard input is not a scan order']);
  }
  say({ type: 'log', level: 'info', message: `Looking at ${url.origin}` });
  say({ type: 'phase', name: 'headers' });
  // The guard is an HTTP proxy behind a socket file: the whole address goes into the request line, for https, too.
  http.get({ socketPath: guard, path: url.href, headers: { Host: url.host }, timeout: 15000 }, (answer) => look(url.href, answer.resume()))
    .on('timeout', function () { this.destroy(new Error('no answer within 15 s')); })
    .on('error', (error) => end(10, [`target_unreachable: ${error.message}`]));
}

process.on('SIGTERM', () => process.exit(143)); // the first process of a container is deaf to what it has no handler for
readline.createInterface({ input: process.stdin }).once('line', scan).once('close', () => process.exit(137)); // nobody listens any more
