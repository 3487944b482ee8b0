-- Keeps what the ledger knew of users' histories; what was taught meanwhile stays.
-- KEYS: histories' keys. ARGV: expiry (s), expiry of an empty one (s), then a value each.
for i = 1, #KEYS do
  local value = ARGV[i + 2]
  redis.call('SET', KEYS[i], value, 'EX', value == '' and ARGV[2] or ARGV[1], 'NX')
end
return #KEYS
