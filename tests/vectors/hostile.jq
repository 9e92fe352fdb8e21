# Expressions that would run, grow or nest without end, one a line; each is cut off.
"x" * 1e9
"x" * 1e18
[range(1e12)]
last(range(1e12))
range(1e12) | select(false)
def f: f; f
def f: 1 + f; f
def f: [f]; f
def f: f | f; f
def f: f, f; f
def f: ., f; [f]
def f(g): f(g | g); f(.)
def f(g): f(g); f(.)
def f(g): def h: f(g); h; f(.)
def f(g): def h(i): i; h(f(g)); f(.)
def f($x): def g(h): h | f($x); g(.); f(1)
def f: def g(h): f; g(.); f
def f($a; g): f($a + 1; g); f(0; .)
def f($x): f($x + 1); f(0)
def f($x): 1 + f($x + 1); f(0)
repeat(1) | select(false)
[repeat(1)]
[repeat("xxxxxxxx")] | join("")
[recurse]
[recurse(.)]
[0 | recurse(. + 1)]
[0 | while(true; . + 1)]
0 | until(false; . + 1)
reduce repeat(1) as $x (0; . + 1)
[foreach repeat(1) as $x (0; . + 1)]
[foreach range(1e9) as $x (0; ., . + 1)]
reduce range(100) as $i ("x"; . + .)
reduce range(100) as $i ([1]; . + .)
reduce range(1e9) as $i ([]; [.])
reduce range(1e9) as $i ({}; {a: .})
reduce range(1e9) as $i (null; .[$i | tostring] = $i)
[][1e9] = 1
[][2147483647] = 1
null | .[1e15] |= 1
first(path(repeat(.a)) | select(false))
path(def f: .a | f; f)
[path(repeat(.a?))]
try (def f: f; f) catch 1
try repeat(1) catch 1 | select(false)
def f: try f catch f; f
def f: f // f; f
(def f: f; f)?
[limit(1e9; repeat(1))] | length
first(range(1e12) | select(. < 0))
[range(1e5)] | sort_by([range(1e5)])
[range(300000)] | map([.]) | group_by(.) | length
[range(100000)] | [.[] as $x | .[] as $y | $x * $y] | length
[range(100000)] as $a | [range(100000) | $a == $a] | length
[range(3e5)] | tojson | [range(1e5) as $i | .] | join(",")
reduce range(30) as $i ("ab"; tojson | . + .)
reduce range(40) as $i ([1]; [., .]) | tojson
reduce range(40) as $i ([1]; [., .]) | flatten
reduce range(40) as $i ([1]; [., .]) | . == .
reduce range(40) as $i ([1]; [., .]) | [..] | length
reduce range(40) as $i ([1]; [., .]) | [paths] | length
reduce range(40) as $i ({}; {a: ., b: .}) | tostring
("a" * 30) | test("(a*)*b")
("a" * 100000) | test("(a|a)*b")
("a" * 100000) | [match("a"; "g")] | length
("a" * 100000) | [match("[a-z]*!|a"; "g")] | length
("a" * 100000) | gsub("a"; "bbbbbbbbbbbbbbbb")
("a" * 100000) | [scan("(a)(a)(a)")] | length
"a" | test("((a{1000}){1000}){1000}")
"a" | test("(((((a{0,100}){0,100}){0,100}){0,100}){0,100})")
[range(1e6) | tostring | test("(a{50}){10}")] | length
"a" | test("(" * 100000)
("[" * 100000) | fromjson
("[" * 127 + "]" * 127) | fromjson | tojson
("1" * 1000000) | tonumber
[range(1e6) | "9" * 1000 | tonumber] | length
"1e999999999" | tonumber | tostring
[range(1e5)] | combinations
[[range(1000)],[range(1000)],[range(1000)],[range(1000)]] | [combinations] | length
[range(1000)] | combinations(10)
[range(1e6)] | implode
("a" * 1000000) | explode | length
("a" * 1000000) | @base64 | @base64 | @base64 | @uri | @html | length
("<" * 1000000) | @html | @html | length
("'" * 1000000) | @sh | @sh | @sh | length
("\\" * 1000000) | tojson | tojson | tojson | tojson | tojson | tojson | length
("a" * 1000000) | split("") | length
("a" * 1000000) / "a" | length
("a" * 100000) | [indices("a")] | length
("a" * 10000) as $s | [range(1e6) | $s | indices("aaaa")] | length
[range(100000)] | transpose
[range(10000) | [.]] | transpose | length
[range(10000) | [range(1000)]] | transpose | length
[range(1000)] | [.[] |= [.]] | length
0 | strftime("%" * 1000)
0 | strftime("%9999999d")
"x" | strptime("%Q")
[range(1e6) | todate] | length
[limit(100000; repeat({a:1}))] | add | length
[range(200000)] | map(tostring) | map({(.): 1}) | add | length
[range(200000)] | INDEX(.) | length
[range(100000)] | walk(.) | length
[range(200000)] | del(.[range(0; 200000; 2)]) | length
[range(20000)] | del(.[]) | length
[range(200000)] | to_entries | from_entries? | length
[range(100000)] | unique | length
label $f | repeat(break $f)
[label $f | range(1e9) | if . > 1e8 then break $f else . end] | length
def a: [range(1000)]; def b: [a[] | a]; def c: [b[] | b]; c | length
def a(f): f | f; def b(f): a(a(f)); def c(f): b(b(f)); def d(f): c(c(f)); def e(f): d(d(f)); def g(f): e(e(f)); def h(f): g(g(f)); 0 | h(. + 1)
def a(f): f + f; def b(f): a(a(f)); def c(f): b(b(f)); def d(f): c(c(f)); def e(f): d(d(f)); def g(f): e(e(f)); def h(f): g(g(f)); 1 | h(. + 1)
[splits("a")] | length
[.[]?] | limit(1e18; .[]) | 1
[getpath(["a"] | until(length > 1e6; . + ["a"]))]
reduce range(1e6) as $i ([]; . + ["a"]) as $p | null | setpath($p; 1)
[range(100000) | "a"] as $p | null | setpath($p; 1)
[range(300) | "a"] as $p | null | setpath($p; 1)
[range(300) | "a"] as $p | null | getpath($p)
[range(40000) | "a"] as $p | null | [path(getpath($p))] | length
[range(20000) | "a"] as $p | null | delpaths([$p])
[range(40000) | 0] as $p | [] | getpath($p) |= empty
.. = 1
.. |= .
[range(100000)] | .[] += 1 | length
[range(100000)] | map(. as [$a] | $a)?
[1] | until(length > 1e9; . + .) | length
{} | until(length > 1e9; . + {(length|tostring): 1}) | length
"x" | until(length > 1e9; . + .)
"x" | until(length > 1e9; "\(.)\(.)")
[range(50000)] | min_by([range(1000)])
[range(1e3)] | [.[] | [range(1e3)]] | add | length
[range(1e5)] | .[:50000] + .[50000:] | length
[range(1e4) as $i | [range($i)]] | length
$__loc__
@json "\(range(1e9))" | select(false)
[range(1e9)] | first
first(range(1e9)) | . + 1
isempty(repeat(1) | select(false))
any(repeat(false); .)
all(repeat(true); .)
[.[]?, repeat(1)] | length
input_line_number
error(repeat(1) | select(false))
{a: repeat(1)} | select(false)
[{(range(1e9) | tostring): 1}] | length
range(1e9; 0; -1) | select(false)
range(0; 1; 0) | select(false)
[range(0; 1; 1e-9)] | length
ltrimstr("x" * 1e8)
tojson * 1e8
[limit(5; range(1e9))] | combinations(1e9)
"\(1 | (def f: "\(f)"; f))"
. as [$a, [$b, [$c]]] | repeat($a) | select(false)
