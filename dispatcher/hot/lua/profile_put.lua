-- Writes profiles through; an older revision never replaces a newer one.
-- KEYS: profile keys. ARGV: expiry (s), then a value each: revision as 16 hex digits, then the profile.
for i = 1, #KEYS do
  local held = redis.call('GETRANGE', KEYS[i], 0, 15)
  if held == '' or held <= string.sub(ARGV[i + 1], 1, 16) then redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ARGV[1]) end
end
return #KEYS
