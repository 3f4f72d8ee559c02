"""The scripts that count: sums and pairs of one epoch, in one step. What holds of all scripts is in redis_scripts.py."""

from router.store.redis_scripts import Script

# Beside the sums of an epoch. KEYS[1]: a mark that the epoch has been written to. ARGV[1]: 1 if the caller knows that it
# has. ARGV[2]: the generation, for the mark.
_SAME_EPOCH = """
local is_there = redis.call('EXISTS', KEYS[1]) == 1
if not is_there and ARGV[1] == '1' then return {'RESET', '', '', '0', '0'} end
"""

# KEYS: mark, changed, changes, scratch, and, from where the caller says, one for each cell. What is to be added follows
# in ARGV: for each cell its name, how many fields, then their names and numbers. `refusal` is asked before any write.
_CELLS = """
-- Numbers of up to 17 digits can't add up to more than 64 bits hold; of longer ones Redis itself says whether they do.
local function overflows(cell, name, number)
  local before = redis.call('HGET', cell, name)
  if #number < 18 and (not before or #before < 18) then return false end
  redis.call('SET', KEYS[4], before or '0')
  local after = redis.pcall('INCRBY', KEYS[4], number)
  redis.call('DEL', KEYS[4])
  return type(after) == 'table' and after.err ~= nil
end
local function each_cell(first_key, at, visit)
  for key = first_key, #KEYS do
    local name, fields = ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    for _ = 1, fields do
      local found = visit(KEYS[key], name, ARGV[at], ARGV[at + 1])
      if found then return found end
      at = at + 2
    end
  end
end
local function refusal(first_key, at)
  return each_cell(first_key, at, function(cell, name, field, number)
    if overflows(cell, field, number) then return {'OVERFLOW', name, field, number} end
  end)
end
local function add(first_key, at)
  redis.call('SET', KEYS[1], ARGV[2], 'NX')
  if first_key > #KEYS then return end
  local change = string.format('%.0f', redis.call('INCR', KEYS[3]))
  each_cell(first_key, at, function(cell, name, field, number)
    redis.call('HINCRBY', cell, field, number)
    redis.call('ZADD', KEYS[2], change, name)
  end)
end
"""

# Pairs are remembered in hashes, a new one begun every few minutes, each as long as the last of its pairs lives. The
# sorted set KEYS[5] names them, by the time at which they end; a name ends with the time at which the hash was begun.
_FORGET = """
-- By a gateway's clock that is ahead, others would still take rewards of pairs that are forgotten.
local now = math.min(tonumber(ARGV[3]), tonumber(redis.call('TIME')[1]))
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.6f', now))) do
  redis.call('UNLINK', KEYS[5] .. ':' .. over)
  redis.call('ZREM', KEYS[5], over)
end
"""

# KEYS: mark, changed, changes, scratch, pairs, sequences, cells. ARGV: is known, generation, now, gateway, sequence, cells.
FLUSH = Script(
    _SAME_EPOCH
    + _CELLS
    + """
local last = redis.call('HGET', KEYS[6], ARGV[4])
if not last or tonumber(ARGV[5]) > tonumber(last) then
  local refused = refusal(7, 6)
  if refused then return refused end
  add(7, 6)
  redis.call('HSET', KEYS[6], ARGV[4], ARGV[5])
end
"""
    + _FORGET
    + "return {'OK'}",
    is_repeatable=True,
)

# KEYS: mark, changed, changes, scratch, pairs, cells.
# ARGV: is known, generation, now, pairs, kinds; then for each kind its name, how long a hash takes new pairs (s), when
# its last pair here ends, and for how long Redis keeps it beyond that (s); for each pair its key, value and the number of its
# kind; then the cells, as if all pairs were new. If one is not, nothing is written and the known ones are told: the
# caller leaves them out and comes again. What is known stays known, so that ends.
REWARDS = Script(
    _SAME_EPOCH
    + _CELLS
    + _FORGET
    + """
local pairs_count, kinds_count = tonumber(ARGV[4]), tonumber(ARGV[5])
local first_pair = 6 + 4 * kinds_count
local keys = {}
for i = 1, pairs_count do keys[i] = ARGV[first_pair + 3 * (i - 1)] end
local living = redis.call('ZRANGE', KEYS[5], 0, -1)
local known = {'KNOWN'}
for _, name in ipairs(living) do
  for i, value in ipairs(redis.call('HMGET', KEYS[5] .. ':' .. name, unpack(keys))) do
    if value then
      known[#known + 1] = tostring(i)
      known[#known + 1] = value
    end
  end
end
if #known > 1 then return known end
local first_cell = first_pair + 3 * pairs_count
local refused = refusal(6, first_cell)
if refused then return refused end
local entries = {}
for kind = 1, kinds_count do entries[kind] = {} end
for i = 1, pairs_count do
  local at = first_pair + 3 * (i - 1)
  local into = entries[tonumber(ARGV[at + 2])]
  into[#into + 1] = ARGV[at]
  into[#into + 1] = ARGV[at + 1]
end
for kind = 1, kinds_count do
  local at = 6 + 4 * (kind - 1)
  local name = ARGV[at] .. ':' .. string.format('%.0f', math.floor(now))
  for _, other in ipairs(living) do
    local its_kind, begun = string.match(other, '^(.*):(%-?%d+)$')
    if its_kind == ARGV[at] and tonumber(begun) <= now and now < tonumber(begun) + tonumber(ARGV[at + 1]) then
      name = other
    end
  end
  local hash = KEYS[5] .. ':' .. name
  redis.call('HSET', hash, unpack(entries[kind]))
  redis.call('ZADD', KEYS[5], 'GT', ARGV[at + 2], name)
  local kept_s = string.format('%.0f', math.max(0, tonumber(ARGV[at + 2]) - now) + tonumber(ARGV[at + 3]))
  if redis.call('EXPIRE', hash, kept_s, 'NX') == 0 then redis.call('EXPIRE', hash, kept_s, 'GT') end
end
add(6, first_cell)
return {'OK'}
""",
    is_repeatable=True,
)

# KEYS: cells.
CELLS = Script(
    """
local answer = {'OK'}
for i = 1, #KEYS do answer[i + 1] = redis.call('HGETALL', KEYS[i]) end
return answer
""",
    is_repeatable=True,
)
