-- Takes and returns parts of limits that several processes share. One call serves many counters, each for itself.
--
-- A counter is a hash: u = units in the window, o = its oldest bucket, r = units granted while recovering, and one field per bucket of time.
-- Units count in their bucket until its end is a whole window old: never too short, at most one bucket too long. A held lease is dated by the
-- end of its life, so units that are spent late still leave the window late enough; when the holder reports, what it spent is dated now.
--
-- KEYS: marker, holders, then one hash per counter.
-- ARGV: holder, the marker it knows (0 = none), ms after which a silent holder is forgotten, ms of recovery after a loss of all data;
--       then per counter: limit, window ms, lease ms, bucket and units of the lease held, units spent of it, units to keep,
--       units that callers wait for (0 = none), the least that helps one of them, units wanted.
-- Gives: marker, number of holders; then per counter: bucket of the lease, units granted beyond those kept, units in the window,
-- ms until the least that helps is free (0 = now).
local PER_COUNTER = 10
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local marker, recover = redis.call('GET', KEYS[1]), 0
if marker then
  local colon = string.find(marker, ':', 1, true)
  recover = tonumber(string.sub(marker, colon + 1))
  marker = tonumber(string.sub(marker, 1, colon - 1))
else
  marker = now
  if tonumber(ARGV[2]) > 0 then recover = now + tonumber(ARGV[4]) end
  redis.call('SET', KEYS[1], string.format('%.0f:%.0f', marker, recover))
end
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[3]))
local holders = redis.call('ZCARD', KEYS[2])

local function expire(key, oldest, edge)
  local names = {}
  for bucket = oldest, edge do names[#names + 1] = bucket end
  local gone = 0
  for _, units in ipairs(redis.call('HMGET', key, unpack(names))) do gone = gone + tonumber(units or 0) end
  redis.call('HDEL', key, unpack(names))
  return gone
end

-- Takes units out of the newest buckets: what was estimated too high and already reported.
local function give_back(key, newest, oldest, units)
  local given, bucket = 0, newest
  while given < units and bucket >= oldest do
    local part = math.min(tonumber(redis.call('HGET', key, bucket) or 0), units - given)
    if part > 0 then redis.call('HINCRBY', key, bucket, -part) end
    given, bucket = given + part, bucket - 1
  end
  return given
end

local function wait(key, used, need, limit, grain, window)
  local buckets, fields = {}, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local bucket = tonumber(fields[i])
    if bucket then buckets[#buckets + 1] = { bucket, tonumber(fields[i + 1]) } end
  end
  table.sort(buckets, function(a, b) return a[1] < b[1] end)
  local excess = used + need - limit
  for _, bucket in ipairs(buckets) do
    excess = excess - bucket[2]
    if excess <= 0 then return math.max((bucket[1] + 1) * grain + window - now, 1) end
  end
  return window
end

local out, at = { marker, holders }, 5
for k = 3, #KEYS do
  local key, n = KEYS[k], {}
  for i = 1, PER_COUNTER do n[i] = tonumber(ARGV[at + i - 1]) end
  at = at + PER_COUNTER
  local limit, window, lease, was, held, spent, keep, need, one, want = unpack(n)
  local grain = math.max(1, math.floor(window / 100))
  local this, till = math.floor(now / grain), math.floor((now + lease) / grain)
  local edge = math.floor((now - window) / grain) - 1
  local head = redis.call('HMGET', key, 'u', 'o', 'r')
  local used, oldest, risked = tonumber(head[1] or 0), tonumber(head[2] or this), tonumber(head[3] or 0)
  if head[1] and oldest <= edge then
    used = used - expire(key, oldest, edge)
    oldest = edge + 1
  end
  if held > 0 then
    local back = math.min(tonumber(redis.call('HGET', key, was) or 0), held)
    if back > 0 then redis.call('HINCRBY', key, was, -back) end
    used = used - back
  end
  if spent > 0 then
    redis.call('HINCRBY', key, this, spent)
    used = used + spent
  elseif spent < 0 then
    used = used - give_back(key, this, oldest, -spent)
  end
  used = used + keep
  local room = limit - used
  if now < recover then room = math.min(room, math.max(math.floor(limit / 4), 1) - risked) end
  local extra, pause = math.max(math.min(want, math.floor(room / holders)), 0), 0
  if room >= need then
    extra = math.max(need, extra)
  else
    extra = room >= one and room or 0
  end
  if used + extra + one > limit then
    pause = wait(key, used + extra, one, limit, grain, window)
  elseif extra < need then
    pause = math.max(recover - now, 1)
  end
  if keep + extra > 0 then redis.call('HINCRBY', key, till, keep + extra) end
  used = used + extra
  if now < recover then redis.call('HSET', key, 'r', risked + extra) end
  redis.call('HSET', key, 'u', used, 'o', oldest)
  redis.call('PEXPIRE', key, window + lease + 2 * grain)
  out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4] = till, extra, used, pause
end
return out
