# What jaq defines otherwise than jq, or not at all.

# Conversion
def tostring: "\(.)";
def toboolean: if type == "boolean" then . elif . == "true" then true elif . == "false" then false
  else error("\(type) cannot be parsed as a boolean") end;
def toarray: if type == "array" then . else [.] end;

# Paths
def del(f): delpaths([path(f)]);
def paths: path(recurse) | select(. != []);
def paths(f): path(recurse | select(f)) | select(. != []);
def leaf_paths: paths(type != "array" and type != "object");
def from_entries: reduce .[] as $x ({}; . + {
    ($x | .key // .Key // .name // .Name // .k // .K):
    ($x | if has("value") then .value elif has("v") then .v else .Value end)});
def pick(f): . as $top | reduce path(f) as $p (null; setpath($p; $top | getpath($p)));
def walk(f): def w: if type == "object" then map_values(w) elif type == "array" then map(w) else . end
  | f; w;

# Iterators
def flatten: [.[] | recurse(arrays[]) | select(type != "array")];
def flatten($d): if $d < 0 then error("flatten depth must not be negative")
  else reduce .[] as $x ([]; if ($x | type) == "array" and $d > 0
    then . + ($x | flatten($d - 1)) else . + [$x] end) end;
def combinations: if length == 0 then []
  else .[0][] as $x | .[1:] | combinations as $rest | [$x] + $rest end;
def combinations(n): . as $set | [range(n) | $set] | combinations;
def transpose: . as $in | [range([.[] | length] | max // 0) as $j | [$in[][$j]]];
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def index($i): indices($i)[0];
def rindex($i): indices($i)[-1:][0];
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def trimstr($x): ltrimstr($x) | rtrimstr($x);

def tostream: path(def r: (.[]? | r), .; r) as $p | getpath($p)
  | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def gamma: lgamma;

# Regular expressions
def scan(re; flags): match(re; "g" + flags)
  | if .captures == [] then .string else [.captures[].string] end;
def scan(re): scan(re; null);

# Dates
def strptime($format): date_format($format) as $f | strptime_in_utc($f);
def strftime($format): date_format($format) as $f | strftime_in_utc($f);

# Formatting
def @json: tojson;
def row_of_cells: if type == "array" then . else error("\(type) is no row, only an array is") end;
def @csv: row_of_cells | [.[] | if type == "string" then "\"" + (split("\"") | join("\"\"")) + "\""
  elif type == "array" or type == "object" then error("\(type) cannot be in a csv row")
  elif . == null then "" else tostring end] | join(",");
def @tsv: row_of_cells | [.[] | if type == "string" then split("\\") | join("\\\\") | split("\t") | join("\\t")
    | split("\n") | join("\\n") | split("\r") | join("\\r")
  elif type == "array" or type == "object" then error("\(type) cannot be in a tsv row")
  elif . == null then "" else tostring end] | join("\t");
