"""What Redis does in one step: Lua over integers that travel as strings, every refusal before the first write.

Redis does not undo what a script wrote before it failed, so whatever can be refused is looked at first. No script
computes with sums: HINCRBY adds in 64-bit integers and refuses to overflow, Lua's numbers are doubles.

Each script answers a list that begins with a word: OK, or why nothing was done.
"""

from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final

from router.store.redis_lineage import FAILOVER_LOSS_MAX_S


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and whether sending it again after a lost answer leaves the same state and a true answer."""

    text: str
    is_repeatable: bool
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


# How many beats of all a process may be silent for and still be told whether its own last one is there: six minutes of 680
# workers, the most that one Redis carries. Each takes some 100 bytes, also of those that have ended.
_BEATERS_KEPT: Final = 1_000_000
# A gateway may be away for a hundred pauses, nights say, and still be told of the one that matters.
_PAUSES_KEPT: Final = 100

# Beside documents and the lease. KEYS[1]: the store itself. ARGV[1]: the generation that the caller knows.
_SAME_STORE = """
local store = redis.call('HMGET', KEYS[1], 'generation', 'accepted', 'beats', 'beat_at', 'losses')
local losses = store[5] or '0'
if store[1] ~= ARGV[1] then
  return {'RESET', store[1] or '', store[2] or '', store[3] or '0', store[4] or '0', losses}
end
"""

# KEYS[2], KEYS[3]: pauses, and the last beat of each process. ARGV[2] to ARGV[6]: beats, losses and time of the last beat
# that the caller knows, who it is, and the last beat of its own (0: none). A store without them has gone back in time;
# where it did for others, they counted a loss. `beats`, `beat_at`, `losses` are for the answer.
_BEAT = f"""
local mine = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[5]) or '0')
-- Forgotten with those who are gone: of a store that has gone on for so long the beats must do.
if tonumber(store[3]) - tonumber(ARGV[6]) >= {_BEATERS_KEPT} then mine = math.max(mine, tonumber(ARGV[6])) end
local pause = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[4], '+inf', 'LIMIT', 0, 1)[1]
if tonumber(store[3]) < tonumber(ARGV[2]) or losses ~= ARGV[3] or mine < tonumber(ARGV[6])
  or (pause and tonumber(pause) < tonumber(ARGV[4])) then
  local answer = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  for i, part in ipairs({{'CHANGED', store[3], store[4], losses, string.format('%.0f', mine)}}) do
    table.insert(answer, i, part)
  end
  return answer
end
local time = redis.call('TIME')
local beat_at = string.format('%d.%06d', time[1], time[2])
if store[3] ~= '0' and tonumber(beat_at) - tonumber(store[4]) > {FAILOVER_LOSS_MAX_S} then
  redis.call('ZADD', KEYS[2], beat_at, store[4])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -{_PAUSES_KEPT} - 1)
end
local beats = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'beats', 1))
redis.call('HSET', KEYS[1], 'beat_at', beat_at)
redis.call('ZADD', KEYS[3], beats, ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', tonumber(beats) - {_BEATERS_KEPT})
"""

# KEYS: store, pauses. ARGV[1]: the generation that an empty store gets; '': it stays empty, for its caller knew it with something in it.
OPEN = Script(
    """
if ARGV[1] ~= '' and redis.call('HSETNX', KEYS[1], 'generation', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'accepted', '0', 'beats', '0', 'beat_at', '0')
end
local store = redis.call('HMGET', KEYS[1], 'generation', 'schema', 'accepted', 'beats', 'beat_at', 'losses')
local answer = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
table.insert(answer, 1, 'OK')
for i, default in ipairs({'', '0', '0', '0', '0', '0'}) do table.insert(answer, i + 1, store[i] or default) end
return answer
""",
    is_repeatable=True,
)

ACCEPT = Script(
    """
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'schema', ARGV[2], 'accepted', '1')
redis.call('HSETNX', KEYS[1], 'beats', '0')
redis.call('HSETNX', KEYS[1], 'beat_at', '0')
return {'OK'}
""",
    is_repeatable=True,
)

# Nothing but a beat, to see whether a store that was refused is itself again. Keys and arguments of a beat.
BEAT = Script(
    _SAME_STORE + _BEAT + "return {'OK', beats, beat_at, losses}",
    is_repeatable=True,
)

# Count a loss, if nobody has. Every fence of before is to be refused, also those that were given out in what was lost.
# KEYS: store, lease. ARGV: generation, the losses that the store said it had, those it has then, and by how much
# the lease's epoch grows.
LOSE = Script(
    _SAME_STORE
    + """
if losses ~= ARGV[2] then return {'CHANGED'} end
redis.call('HSET', KEYS[1], 'losses', ARGV[3])
redis.call('HINCRBY', KEYS[2], 'epoch', ARGV[4])
return {'OK', store[3], store[4], ARGV[3]}
""",
    is_repeatable=True,
)

# KEYS: store, sequences. ARGV: generation, gateway.
LAST_SEQUENCE = Script(
    _SAME_STORE + "return {'OK', redis.call('HGET', KEYS[2], ARGV[2]) or ''}",
    is_repeatable=True,
)

# KEYS: those of a beat, sequences, seen, heartbeats.
# ARGV: those of a beat, gateway, sequence, heartbeat, how long a silent one is kept (s). Gateways' clocks may differ, so
# it is the server's that counts, here and for the lease.
HEARTBEAT = Script(
    _SAME_STORE
    + _BEAT
    + """
local last = redis.call('HGET', KEYS[4], ARGV[7])
if last and tonumber(ARGV[8]) <= tonumber(last) then return {'OK', beats, beat_at, losses} end
redis.call('HSET', KEYS[4], ARGV[7], ARGV[8])
redis.call('HSET', KEYS[6], ARGV[7], ARGV[9])
redis.call('ZADD', KEYS[5], beat_at, ARGV[7])
local since = string.format('(%.6f', tonumber(beat_at) - tonumber(ARGV[10]))
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', since, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[4], silent)
  redis.call('HDEL', KEYS[6], silent)
  redis.call('ZREM', KEYS[5], silent)
end
return {'OK', beats, beat_at, losses}
""",
    is_repeatable=True,
)

# KEYS: store, seen, heartbeats. ARGV: generation, how old they may be (s).
HEARTBEATS = Script(
    _SAME_STORE
    + """
local answer, time = {'OK'}, redis.call('TIME')
local since = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1e6 - tonumber(ARGV[2]))
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], since, '+inf')) do
  answer[#answer + 1] = gateway
  answer[#answer + 1] = redis.call('HGET', KEYS[3], gateway)
end
return answer
""",
    is_repeatable=True,
)

# KEYS: those of a beat, lease. ARGV: those of a beat, owner, for how long (s).
LEASE = Script(
    _SAME_STORE
    + _BEAT
    + """
local lease = redis.call('HMGET', KEYS[4], 'holder', 'epoch', 'expires_at')
local epoch = lease[2] or '0'
if lease[1] ~= ARGV[7] then
  if lease[1] and lease[1] ~= '' and tonumber(lease[3]) > tonumber(beat_at) then
    return {'TAKEN', beats, beat_at, losses}
  end
  epoch = string.format('%.0f', redis.call('HINCRBY', KEYS[4], 'epoch', 1))
end
redis.call('HSET', KEYS[4], 'holder', ARGV[7], 'expires_at', string.format('%.6f', tonumber(beat_at) + tonumber(ARGV[8])))
return {'OK', beats, beat_at, losses, epoch}
""",
    is_repeatable=True,
)

# KEYS: store, lease. ARGV: generation, owner.
RELEASE = Script(
    _SAME_STORE
    + """
if redis.call('HGET', KEYS[2], 'holder') == ARGV[2] then redis.call('HSET', KEYS[2], 'holder', '', 'expires_at', '0') end
return {'OK'}
""",
    is_repeatable=True,
)

# ARGV[2]: the fence, or nothing. A document is kept behind its revision and a line break.
_FENCE = """
local epoch = redis.call('HGET', KEYS[2], 'epoch') or '0'
if ARGV[2] ~= '' and ARGV[2] ~= epoch then return {'FENCED', epoch} end
local function number_of(kept)
  return kept and string.sub(kept, 1, string.find(kept, '\\n', 1, true) - 1) or nil
end
"""

# KEYS: store, lease, documents, order, snapshots, told, then a history for each entry.
# ARGV: generation, fence, name, expected revision ('': only tell), new revision ('': remove), document, documents kept
# (0: all), entries of history kept, then the name and the text of each entry.
CHANGE = Script(
    _SAME_STORE
    + _FENCE
    + """
if ARGV[4] ~= '' then
  local revision = number_of(redis.call('HGET', KEYS[3], ARGV[3])) or '0'
  if revision ~= ARGV[4] then return {'REVISION', revision} end
  if ARGV[5] == '' then
    redis.call('HDEL', KEYS[3], ARGV[3])
    redis.call('HDEL', KEYS[5], ARGV[3])
  else
    redis.call('HSET', KEYS[3], ARGV[3], ARGV[5] .. '\\n' .. ARGV[6])
  end
  if ARGV[7] ~= '0' then
    local newest = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
    redis.call('ZADD', KEYS[4], string.format('%.0f', tonumber(newest[2] or '0') + 1), ARGV[3])
    for _, oldest in ipairs(redis.call('ZRANGE', KEYS[4], 0, -tonumber(ARGV[7]) - 1)) do
      redis.call('HDEL', KEYS[3], oldest)
      redis.call('ZREM', KEYS[4], oldest)
    end
  end
end
for i = 7, #KEYS do
  local whose, entry = ARGV[9 + 2 * (i - 7)], ARGV[10 + 2 * (i - 7)]
  redis.call('RPUSH', KEYS[i], entry)
  redis.call('LTRIM', KEYS[i], -tonumber(ARGV[8]), -1)
  redis.call('HINCRBY', KEYS[6], whose, 1)
end
return {'OK'}
""",
    is_repeatable=False,
)

# KEYS: store, told, history. ARGV: generation, name, limit, before ('': all).
PAGE = Script(
    _SAME_STORE
    + """
local length = redis.call('LLEN', KEYS[3])
local first = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0') - length + 1
local stop = length - 1
if ARGV[4] ~= '' then stop = math.min(stop, tonumber(ARGV[4]) - first - 1) end
local start = math.max(0, stop - tonumber(ARGV[3]))
if stop < 0 then return {'OK', '0'} end
local answer = redis.call('LRANGE', KEYS[3], start, stop)
table.insert(answer, 1, 'OK')
table.insert(answer, 2, string.format('%.0f', first + start))
return answer
""",
    is_repeatable=True,
)

# KEYS: store, lease, snapshots. ARGV: generation, fence, name, version, snapshot.
PUBLISH = Script(
    _SAME_STORE
    + _FENCE
    + """
local current = number_of(redis.call('HGET', KEYS[3], ARGV[3]))
if current and tonumber(current) > tonumber(ARGV[4]) then return {'VERSION', current} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4] .. '\\n' .. ARGV[5])
return {'OK'}
""",
    is_repeatable=True,
)

# KEYS: store, documents. ARGV: generation.
DOCUMENTS = Script(
    _SAME_STORE
    + """
local answer = redis.call('HGETALL', KEYS[2])
table.insert(answer, 1, 'OK')
return answer
""",
    is_repeatable=True,
)
