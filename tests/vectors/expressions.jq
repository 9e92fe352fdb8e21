# Expressions that must give what jq gives, one a line; tests/core/test_expression.py runs them.
.
.a.b
.a["b"]
.a.c[1]
.a.c[-1]
.a.c[1:3]
.a.c[:-1]
.s[1:4]
.l[].v
[.l[].v]
[.l[] | .v] | add
.l | map(.v) | sort
.l | sort_by(.v)
.l | group_by(.k)
.l | unique_by(.k)
.l | min_by(.v), max_by(.v)
.l | map({(.k): .v}) | add
.l | length, (.[0]|length)
.s | length, utf8bytelength
.n | length
.f | floor, ceil, round, sqrt
.a | keys
.a | to_entries
.l[0] | to_entries | from_entries
.l[0] | with_entries(.value |= tostring)
.a | has("b"), has("q")
.a.c | has(0), has(9)
.l | map(select(.v > 1))
.l | any(.v > 2), all(.v > 0)
[.l[] | select(.k == "x") | .v] | add / length
.x // "default"
.z // 1
if .n < 0 then "neg" elif .n == 0 then "zero" else "pos" end
.a.c | map(type)
.a | tojson
.a | tojson | fromjson
"abc \(.a.b) def \(.l)"
.s | ascii_downcase, ascii_upcase
.s | split(" ")
.s | test("w.r"), test("zzz")
.s | [match("l"; "g").offset]
.s | match("(?<x>l+)o")
.s | capture("(?<first>[a-z]+)l")
.s | sub("l"; "L"), gsub("l"; "L")
.s | gsub("(?<c>[aeiou])"; "<\(.c)>")
[.s | scan("[a-z]")]
[.s | scan("([a-z])(l)")]
.s | split("o"; null)
.s | ltrimstr("hé"), rtrimstr("ld"), ltrimstr("x")
.s | startswith("hé"), endswith("ld")
.s | explode | implode
.s | @base64, (@base64|@base64d), @uri, @html, @sh, @json, @text
[1,"a\"b",null,true] | @csv, @tsv
.a.c | first, last, nth(1)
[limit(3; .a.c[])]
[range(5)], [range(2;5)], [range(0;10;3)]
[range(5;0;-2)]
reduce .l[] as $x (0; . + $x.v)
[foreach .l[] as $x (0; . + $x.v)]
[foreach .l[] as $x (0; . + $x.v; [$x.k, .])]
.l as [$p, $q] | $p.v + $q.v
.l[0] as {k: $k, v: $v} | "\($k)=\($v)"
[recurse(.[]?; true) | scalars] | length
getpath(["a","b"])
setpath(["a","q"]; 5) | .a.q
del(.a.b) | .a
del(.l[0,2]) | .l
del(.l[] | select(.v == 1)) | .l
delpaths([["a"],["l"]]) | keys
.a.b |= . + 1 | .a.b
.a.b += 10 | .a.b
.l[].v *= 2 | .l
.q.w.e = 1 | .q
.e[3] = 1 | .e
.a.c[1:3] = ["y"] | .a.c
.z.x |= 3 | .z
[.l[] | .k] | unique, (unique | join(","))
[1,[2,[3,[4]]]] | flatten, flatten(1)
[[1,2],[3]] | transpose
[1,2,3] | contains([1]), inside([1,2,3,4])
"foobar" | contains("bar"), index("o"), rindex("o"), indices("o")
[1,2,1] | index(1), rindex(1), indices(1), indices([1,2])
[3,1,2] | sort, reverse, min, max, add
[1,2] - [2], [1] + [2], {} + {"a":1}, ({"a":{"b":1}} * {"a":{"c":2}})
5 / 2, 6 / 3, 7 % 3, -7 % 3, 5.9 % 2.1, 1e3, 2 * 3.5
"a,b" / ","
"ab" * 3, "ab" * 0
1 == 1.0, 1 < 2, "a" < "b", [] < {}, null < false, {} == {}
null + 1, (null | length), ([] | add), ([] | min)
not, (true | not), (null | not)
true and false, true or false, (false // false)
try error("x") catch ., (try error({a:1}) catch .a)
[.[]?] | length
.a.b? , (.n.x? // "no")
try (1 | .[0]) catch "bad"
first(range(10)), [limit(0; 1,2)], ([first(empty)])
isempty(empty), isempty(1)
[.a.c[] | numbers, strings, nulls, booleans]
label $out | 1, break $out, 2
[label $out | .a.c[] | if . == "x" then break $out else . end]
def f: . + 1; def g(x): x | f; 3 | g(f)
def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; 10 | fac
[recurse(if . < 3 then . + 1 else empty end)]? // "e"
2 | [recurse(if . < 5 then . + 1 else empty end)]
1 | [while(. < 50; . * 2)], until(. > 100; . * 3)
.a | walk(if type == "number" then . + 1 else . end)
.l | INDEX(.k) | keys
2 | IN(1,2,3)
.t | fromdate, (fromdate | todate), (strptime("%Y-%m-%dT%H:%M:%SZ") | mktime)
1425599621 | gmtime, todate, strftime("%Y %B %d")
"10" | tonumber
"x" | try tonumber catch "nan"
[1,2,3] | .[1:] , .[:1], .[-2:]
[1,null,2] | map(values)
{"a":1,"b":2} | map_values(. + 1), map(. * 2), add, length
[{"a":1},{"a":null},{}] | map(.a)
splits("a")? // "n"
["a","b"] | combinations? // "x"
[[1,2],[3,4]] | [combinations]
[2 | combinations(2)?] | length
"abc" | .[1:2]
tojson | length > 10
[1,2,3] | IN(2)
ascii_downcase? // "no"
.a as {b: $x} | $x
. as {a: {c: [$h]}} | $h
[.l[] | {k, w: .v}]
{a: 1, "b": 2, ("c" + "d"): 3, (.l[0].k): 4, @base64 "x": 5}
{(.l[].k): 1}
[{a: (1,2), b: (3,4)}]
[.a.c[] as $x | $x]
$x + 1
$y.z
[$y.z, $y["z"], $y.q]
[1,2,3] | tojson, tostring, ([.[]|tostring])
1.5 | tostring, tojson
100000000000000000000 | tostring
nan | isnan
[nan] | sort | length
infinite | isinfinite
"\u00e9\n\t\"" | tojson
"x" | ascii_upcase | ltrimstr("X")
abs? // 0
-1 | abs
[1,2,3,4] | bsearch(3), bsearch(0)
pick(.a.b)
[.[] | select(type=="string")]
getpath(["x","y"])
"a b c" | [splits(" ")]
trim? // 1
"  a " | trim, ltrim, rtrim
$x as $q | $q
[limit(2; repeat("x"))]
min_by(.x)? // 1
{} | .a.b.c
{} | .a += 1
{} | .["x"] = 1
[] | .[2] = 1
null | .[1:3]
[1,2,3,4] | del(.[1:3])
[1,2,3] | to_entries
[3,[1],{"a":1},"s",null,true,false,1.5] | sort
{"b":1,"a":[1,{"d":2}]} | [paths(..)] | length
{"a":[{"b":1},{"b":2}]} | [.a[].b], (.a |= map(.b)), (.a[0].b = 9)
path(.a[0].b), [path(..)] | length
[paths] | length
ltrimstr(1)? // 0
@json "v=\(.a)"
@uri "q=\(.s)"
tojson|fromjson == .
[.l[].v] | (add/length) as $m | map(. - $m)
.l | map(.v) | {sum: add, n: length, mean: (add/length)}
.l | map("\(.k):\(.v)") | join(", ")
[.l[] | .k as $k | .v as $v | {($k): $v}] | add
.l | map(.k) | unique | map({(.): 1}) | add
[1,2,3] | [.[] | if . > 1 then . else empty end]
error? // "caught"
try error catch .
try error(null) catch .
[.a.c[]?, .q[]?]
.a.c | map(. // "null")
[.l | .[] | .v] | @text
significand? // 1
[1,2] | getpath([5])
{} | has("a")
[] | first, last
tojson | test("héllo")
"test" | test("TEST"; "i"), test(["TEST","i"])?
"aXbxc" | [match("x"; "gi").string], ascii_downcase
"abc" | sub("(?<l>.)"; "\(.l)!"; "g")
"aaa" | gsub("a"; "b"), gsub("^a"; "z"), gsub("$"; "!")
"foo bar" | [match("(foo)|(bar)"; "g") | .captures | map(.string)]
tostream? | 1
[limit(3; range(100))] | add
limit(-1; 1)? // "neg"
skip(1; 1,2)? // 0
[range(3)] | last(.[]), nth(1; .[])
getpath(["l",0,"k"])
to_entries[0].key? // ""
ltrimstr("a") | type
add(.l[].v)
[.l[] | .v] | add(.[])
{"a":1} | del(.b), del(.a)
[[1,2],[1]] | sort, max, min
"\("a" + "b")"
. as $d | [$d.l[] | .v + $d.n]
.l | sort_by(.k, -.v)
.l | group_by(.k) | map({k: .[0].k, total: (map(.v) | add)})
"2015-03-05" | strptime("%Y-%m-%d") | mktime
[paths] | sort
[paths(type == "number")] | sort
[.. | numbers] | sort
to_entries | map(.key) | sort
[0.1, 1.0e2, 1e-7]
8 | significand, logb, exp2, log2, pow(2; 3), trunc
$y.z.q?
$y.z.q
if false then .n.x.y else 1 end
try .n.x.y catch "c"
.n.x.y // 1
.n.x.y
(.n.x.y, 2)?
.a as $x | $x.b + $y.z[0]
.a.b as $x | $x
def f: .b; .a | f
def f($x): $x.b; f(.a)
def f(g): g.b; f(.a)
(reduce $y.z[] as $x (0; . + $x)) + $x
reduce .l[] as $y (.n; . + $y.v + $x)
[foreach .l[] as {v: $x} (.n; . + $x; [., $x, $y.z])]
{a, "b": .n, $x}
{a: .a.b} | .a
{"a": .a.b, n}
{(.s): .a.b}
. as {a: $q} | $q.b
. as {a: {b: $x}} | $x, $y.z
.a.b |= 3 | .a
.a.b = .n | .a
.a.b += $x | .a
.a.b //= .n | .a
.a[.t] = .n | .a | length
[.l[] | .v + $x]
.l | map(.v + $y.z[0])
.a[.z // "b"]
label $x | .a.b + $x
"\(.a.b)-\($y.z)"
@json "\(.a.b)-\($y.z)"
.a.c[$y.z[0]]
.a.c[$y.z[0]:$y.z[1]]
[.. | .b?]
$x as $y | $y
[$x as $y | $y, $x]
$y.nope.deeper
.nope.deeper.more
.a.b.c?
.a?.b
.l[0].k
.["a"].b
."a"."b"
.a."b"
first(.l[]).k
.a | .b
(.a).b
(.a, .o).b
path(.a.b)
path($y.z)
[path(.a.b, .n)]
try error(.a.b) catch .
try error(.a.b) catch . + $x
.a.b, .n
-(.n)
-.n
.z.a.b
.a.b.c
.e.a
$x.a
$x.a? // .n
$y["z"][1]
[.a.b, .a.b, .a, $y.z, $y]
if .a.b > 1 then .n else .s end
if .z then .n end
if .n < 0 then .a.b elif .n then $x else $y end
.a.b == 2 and .n < 0 or $x
[.a.b < .n, .a.b // .n]
.l | .[0].k as $k | map(select(.k == $k)) | length
. | .a | . | .b
[limit(1; .l[].k)]
.a.b as [$q] | $q
def f: def g: $x; g + .a.b; f
def f($x; $y): $x + $y; f(.a.b; .n) + $x
.a | . as $x | .b + $x.b
[.l[] as {k: $x, v: $y} | [$x, $y]] + [$x]
.["s"] | length
."" // .a.b
.[""].x
