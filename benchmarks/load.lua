-- For wrk: prepared requests one after another, over all connections; the placeholder in each becomes a number that rises.
-- A runner has far more requests of others between two of its own than there are connections, so its numbers arrive in order.
local prepared = dofile(os.getenv("BENCH_REQUESTS"))
local sequence = tonumber(os.getenv("BENCH_FIRST"))
local place = 0

request = function()
  place = place + 1
  if place > #prepared then
    place = 1
    sequence = sequence + 1
  end
  local one = prepared[place]
  if one[2] == nil then
    return one[1]
  end
  return one[1] .. sequence .. one[2]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"refused":%d,"broken":%d,"p50":%.3f,"p99":%.3f}\n',
    summary.requests, summary.duration, summary.bytes, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
