#include "trace/trace_reader.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "base/file_system.h"
#include "base/json_stream.h"
#include "trace/event_format.h"
#include "trace/packed_file.h"

namespace trine {
namespace {

using Token = JsonStream::Token;

// A file that is JSON, but says what cannot be.
struct Contradiction : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// All fields that an event may have and we read.
struct RawEvent {
  enum class Category : uint8_t { kOther, kWork, kStep };
  std::string name;  // counters only
  char phase = 0;
  Category category = Category::kOther;
  int64_t row = 0, ts_ns = 0, dur_ns = 0, node = -1, clock_offset_ns = 0, clock_error_ns = 0;
  std::optional<EventKind> kind;
  TraceEvent event;
};

int64_t integer(std::string_view text, int64_t lowest, int64_t highest) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < lowest || value > highest)
    throw Contradiction(fmt::format("{} where an integer from {} to {} should be", text, lowest, highest));
  return value;
}

template <typename T>
T integer_of(std::string_view text, T lowest = 0) {
  return static_cast<T>(integer(text, lowest, std::numeric_limits<T>::max()));
}

double real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !(value >= 0) || value > 1e300)
    throw Contradiction(fmt::format("{} where a positive number should be", text));
  return value;
}

// Microseconds as they stand, to the nanosecond: a double would lose some.
int64_t nanoseconds(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point), rest = point == text.npos ? "" : text.substr(point + 1);
  if (text.find_first_of("eE") != text.npos) return static_cast<int64_t>(std::min(real(text), 1e15) * 1e3);
  int64_t ns = integer(whole, -1'000'000'000'000'000, 1'000'000'000'000'000) * 1000, unit = 100;
  for (const char digit : rest.substr(0, 3)) {
    ns += (whole.starts_with('-') ? -1 : 1) * unit * (digit - '0');
    unit /= 10;
  }
  return ns;
}

template <typename T, typename Names>
std::optional<T> named(std::string_view text, const Names& all) {
  for (const T value : all)
    if (name(value) == text) return value;
  return std::nullopt;
}

constexpr auto kKinds = [] {
  std::array<EventKind, kNumEventKinds> kinds{};
  for (size_t i = 0; i < kinds.size(); ++i) kinds[i] = static_cast<EventKind>(i);
  return kinds;
}();

// One file, token by token.
class FileReader {
 public:
  FileReader(const std::filesystem::path& path, const TraceSelection& selection, Trace& trace)
      : path_(path), selection_(selection), trace_(trace), file_(path), json_([this](std::span<char> to) {
          return file_.read(to);
        }) {}

  void read() {
    try {
      read_file();
    } catch (const JsonError& error) {
      throw DataError(fmt::format("[trace] {}: {}. The file is cut off or damaged: copy or write it again.",
                                  path_.string(), error.what()));
    } catch (const Contradiction& error) {
      throw DataError(fmt::format(
          "[trace] {}: byte {}: {}. The file is damaged or of another program, or the files are of different runs.",
          path_.string(), json_.position(), error.what()));
    }
  }

 private:
  Token expect(Token wanted, std::string_view what) {
    const Token token = json_.next();
    if (token != wanted) throw Contradiction(fmt::format("no {} where one should be", what));
    return token;
  }
  std::string_view number() { return expect(Token::kNumber, "number"), json_.text(); }
  std::string string() { return expect(Token::kString, "text"), std::string(json_.text()); }
  void skip_value() { json_.skip(json_.next()); }
  // f(key) reads its value, for each key of the object that comes next.
  template <typename F>
  void each_key(F f) {
    expect(Token::kBeginObject, "object");
    while (json_.next() == Token::kKey) f(json_.text());
  }
  template <typename F>
  void each_element(F f) {  // f(first token)
    expect(Token::kBeginArray, "list");
    for (Token token = json_.next(); token != Token::kEndArray; token = json_.next()) f(token);
  }

  void read_file();
  void read_own_header();
  void read_node(Token first, std::vector<NodeLabel>& nodes);
  void begin_events();
  void read_event(Token first);
  void read_event_args(RawEvent& raw);
  void add(RawEvent& raw);
  StepTrace* step(int32_t number);
  void finish();

  const std::filesystem::path& path_;
  const TraceSelection& selection_;
  Trace& trace_;
  PackedFile file_;
  JsonStream json_;
  // Of the header.
  bool is_ours_ = false, wanted_ = true, ended_ = false;
  Mesh mesh_;
  RankTrace rank_;
  std::string backend_;
  ModelledTime modelled_;
  int64_t origin_unix_ns_ = 0;
  std::vector<NodeLabel> nodes_;
  bool in_selected_step_ = false;
};

void FileReader::read_file() {
  each_key([&](std::string_view key) {
    if (key == "traceEvents") {
      begin_events();
      each_element([&](Token first) { read_event(first); });
      ended_ = true;
    } else if (key == "trine") {
      read_own_header();
    } else if (key == "baseTimeNanoseconds") {
      origin_unix_ns_ = integer(number(), 0, 4'000'000'000'000'000'000);  // to the year 2096
    } else if (key == "distributedInfo") {
      each_key([&](std::string_view field) { field == "backend" ? void(backend_ = string()) : skip_value(); });
    } else if (key == "deviceProperties") {
      each_element([&](Token first) {
        if (first != Token::kBeginObject) throw Contradiction("no object where one should be");
        while (json_.next() == Token::kKey) json_.text() == "name" ? void(rank_.device = string()) : skip_value();
      });
    } else {
      skip_value();
    }
  });
  expect(Token::kEnd, "end of the file");
  if (!ended_) throw Contradiction("it has no traceEvents");
  finish();
}

void FileReader::read_own_header() {
  is_ours_ = true;
  each_key([&](std::string_view key) {
    if (key == "format") {
      if (const int format = integer_of<int>(number()); format != 1)
        throw Contradiction(fmt::format("format {} of the trace, and this program reads format 1", format));
    } else if (key == "merged") {
      throw DataError(fmt::format(
          "[trace] {}: ranks were merged into this file, for viewers. Name the run's folder.", path_.string()));
    } else if (key == "rank") {
      rank_.rank = integer_of<int>(number());
    } else if (key == "host") {
      rank_.host = string();
    } else if (key == "mesh") {
      each_key([&](std::string_view axis) {
        const bool pp = axis == "pp", dp = axis == "dp";
        const int size = static_cast<int>(integer(number(), 1, 1 << 20));
        (pp ? mesh_.pp : dp ? mesh_.dp : mesh_.tp) = size;
      });
    } else if (key == "emulate_links" || key == "rehearsal") {
      modelled_.links_only = key == "emulate_links";
      modelled_.cluster = string();
    } else if (key == "dilation" || key == "speed_up") {
      modelled_.times = real(number());
      if (!(modelled_.times > 0))
        throw Contradiction(fmt::format("a clock that goes {} times slower", modelled_.times));
    } else if (key == "nodes") {
      each_element([&](Token first) { read_node(first, nodes_); });
    } else {
      skip_value();
    }
  });
  if (int64_t{mesh_.pp} * mesh_.dp * mesh_.tp > 1 << 24 || rank_.rank >= mesh_.num_ranks())
    throw Contradiction(
        fmt::format("rank {} of a layout of pp {} dp {} tp {}", rank_.rank, mesh_.pp, mesh_.dp, mesh_.tp));
  rank_.coordinate = mesh_.coordinate(rank_.rank);
  wanted_ = selection_.ranks.contains(rank_.rank);
}

void FileReader::read_node(Token first, std::vector<NodeLabel>& nodes) {
  if (first != Token::kBeginArray) throw Contradiction("no list where a node's should be");
  NodeLabel& node = nodes.emplace_back();
  node.op = string(), node.scope = string(), node.phase = string(), node.dtype = string();
  node.in_elements = integer_of<int64_t>(number()), node.out_elements = integer_of<int64_t>(number());
  expect(Token::kEndArray, "end of a node");
}

void FileReader::begin_events() {
  if (!is_ours_) throw Contradiction("no \"trine\" before its events: it is a trace of another program");
}

void FileReader::read_event(Token first) {
  if (!wanted_) return json_.skip(first);
  if (first != Token::kBeginObject) throw Contradiction("no object where an event should be");
  RawEvent raw;
  while (json_.next() == Token::kKey) {
    const std::string_view key = json_.text();
    if (key == "ts") {
      raw.ts_ns = nanoseconds(number());
    } else if (key == "dur") {
      raw.dur_ns = nanoseconds(number());
      if (raw.dur_ns < 0) throw Contradiction("an event that ends before it begins");
    } else if (key == "tid") {
      const Token token = json_.next();
      raw.row = token == Token::kNumber ? integer(json_.text(), INT64_MIN, INT64_MAX) : -1;
      json_.skip(token);
    } else if (key == "ph") {
      const std::string phase = string();
      raw.phase = phase.size() == 1 ? phase[0] : '?';
    } else if (key == "cat") {
      expect(Token::kString, "text");
      const std::string_view category = json_.text();
      raw.category = category == "kernel" || category == "cpu_op" ? RawEvent::Category::kWork
                     : category == "user_annotation"              ? RawEvent::Category::kStep
                                                                  : RawEvent::Category::kOther;
    } else if (key == "name") {
      expect(Token::kString, "text");
      if (json_.text() == kArenaCounter || json_.text() == kResidentCounter) raw.name = json_.text();
    } else if (key == "args" && raw.phase != 'M') {
      read_event_args(raw);
    } else {
      skip_value();
    }
  }
  add(raw);
}

void FileReader::read_event_args(RawEvent& raw) {
  TraceEvent& event = raw.event;
  each_key([&](std::string_view key) {
    if (key == "step")
      event.step = integer_of<int32_t>(number());
    else if (key == "node")
      event.node = integer_of<int32_t>(number());
    else if (key == "microbatch")
      event.microbatch = integer_of<int32_t>(number());
    else if (key == "action")
      event.action = integer_of<int32_t>(number());
    else if (key == "chunk")
      event.chunk = integer_of<int16_t>(number());
    else if (key == "peer")
      event.peer = integer_of<int32_t>(number());
    else if (key == "seq")
      event.sequence = integer_of<int32_t>(number());
    else if (key == "bytes")
      event.bytes = integer_of<int64_t>(number());
    else if (key == "flops")
      event.flops = real(number());
    else if (key == "kind")
      expect(Token::kString, "text"), raw.kind = named<EventKind>(json_.text(), kKinds);
    else if (key == "clock_offset_ns")
      raw.clock_offset_ns = integer_of<int64_t>(number(), std::numeric_limits<int64_t>::min());
    else if (key == "clock_error_ns")
      raw.clock_error_ns = integer_of<int64_t>(number());
    else
      skip_value();
  });
}

void FileReader::add(RawEvent& raw) {
  if (raw.phase == 'C' && !raw.name.empty()) {
    if (!in_selected_step_) return;
    rank_.steps.back().memory.push_back(
        {.time_ns = raw.ts_ns,
         .bytes = raw.event.bytes,
         .kind = raw.name == kArenaCounter ? MemorySample::Kind::kArena : MemorySample::Kind::kResident});
    return;
  }
  if (raw.phase != 'X' || raw.category == RawEvent::Category::kOther) return;
  if (raw.event.step < 1) throw Contradiction("an event without a step");
  const bool selected = raw.event.step >= selection_.first_step && raw.event.step <= selection_.last_step;
  if (raw.category == RawEvent::Category::kStep) in_selected_step_ = selected;
  if (!selected) return;
  raw.event.t0_ns = raw.ts_ns, raw.event.t1_ns = raw.ts_ns + raw.dur_ns;
  if (raw.category == RawEvent::Category::kStep) {
    if (!rank_.steps.empty() && rank_.steps.back().step >= raw.event.step)
      throw Contradiction(fmt::format("step {} after step {}", raw.event.step, rank_.steps.back().step));
    rank_.steps.push_back({.step = raw.event.step,
                           .begin_ns = raw.event.t0_ns,
                           .end_ns = raw.event.t1_ns,
                           .clock = {raw.clock_offset_ns, raw.clock_error_ns}});
    return;
  }
  const int64_t lane = raw.row % kRowsPerLane;
  if (raw.row < 0 || raw.row >= kStepRow || lane >= std::ssize(kLanes))
    throw Contradiction(fmt::format("row {} is no lane", raw.row));
  if (!raw.kind) throw Contradiction("an event without a kind, or of one that this program does not know");
  if (raw.event.peer >= mesh_.pp) throw Contradiction(fmt::format("peer {} of pp {}", raw.event.peer, mesh_.pp));
  if (raw.event.node >= std::ssize(nodes_))
    throw Contradiction(fmt::format("node {} of {}", raw.event.node, nodes_.size()));
  raw.event.lane = static_cast<Lane>(lane), raw.event.kind = *raw.kind;
  step(raw.event.step)->events.push_back(raw.event);
}

StepTrace* FileReader::step(int32_t number) {
  for (auto step = rank_.steps.rbegin(); step != rank_.steps.rend(); ++step)
    if (step->step == number) return &*step;
  throw Contradiction(fmt::format("an event of step {}, whose bounds were not said before", number));
}

// Puts the rank into the trace.
void FileReader::finish() {
  if (!wanted_) return;
  if (trace_.ranks.empty()) {
    trace_.mesh = mesh_, trace_.backend = backend_, trace_.modelled = modelled_,
    trace_.origin_unix_ns = origin_unix_ns_;
    trace_.nodes.resize(static_cast<size_t>(mesh_.pp));
  } else if (!(trace_.mesh == mesh_)) {
    throw Contradiction(fmt::format("a layout of pp {} dp {} tp {}, and other files have pp {} dp {} tp {}",
                                    mesh_.pp, mesh_.dp, mesh_.tp, trace_.mesh.pp, trace_.mesh.dp, trace_.mesh.tp));
  }
  std::vector<NodeLabel>& nodes = trace_.nodes[static_cast<size_t>(rank_.coordinate.pp)];
  if (nodes.empty()) nodes = nodes_;
  if (nodes != nodes_) throw Contradiction("other operations than in another file of the same stage");
  // What ran later on another origin counts from the first file's.
  const int64_t later_ns = origin_unix_ns_ - trace_.origin_unix_ns;
  for (StepTrace& step : rank_.steps)
    if (later_ns != 0) shift(step, later_ns);
  const auto place = std::ranges::lower_bound(trace_.ranks, rank_.rank, {}, &RankTrace::rank);
  if (place == trace_.ranks.end() || place->rank != rank_.rank) {
    trace_.ranks.insert(place, std::move(rank_));
    return;
  }
  for (StepTrace& step : rank_.steps) {
    const auto at = std::ranges::lower_bound(place->steps, step.step, {}, &StepTrace::step);
    if (at != place->steps.end() && at->step == step.step)
      *at = std::move(step);
    else
      place->steps.insert(at, std::move(step));
  }
}

bool is_trace_name(std::string_view name) {
  return name.starts_with("rank-") && (name.ends_with(".json") || name.ends_with(".json.gz"));
}

void add_files(const std::filesystem::path& folder, std::vector<std::filesystem::path>& files) {
  std::vector<std::string> resumed;
  std::map<std::string, std::string> by_rank;
  for (const std::string& name : names_in(folder).value_or(std::vector<std::string>{})) {
    if (name.starts_with("from-step-")) resumed.push_back(name);
    if (!is_trace_name(name)) continue;
    const auto [other, is_new] = by_rank.emplace(name.substr(0, name.find('.')), name);
    if (!is_new)
      throw DataError(fmt::format("[trace] {}: both {} and {}. Remove or name the one that you do not mean.",
                                  folder.string(), other->second, name));
  }
  for (const auto& [rank, name] : by_rank) files.push_back(folder / name);
  for (const std::string& name : resumed) add_files(folder / name, files);
}

}  // namespace

std::vector<std::filesystem::path> trace_files(const std::filesystem::path& where) {
  if (!is_folder(where)) return {where};
  std::vector<std::filesystem::path> files;
  add_files(where, files);
  if (files.empty()) add_files(where / "trace", files);
  if (files.empty())
    throw DataError(fmt::format(
        "[trace] {} holds no trace (rank-0000.json.gz, or trace/rank-0000.json.gz). Train with --trace on, or name "
        "the run's folder.",
        where.string()));
  return files;
}

Trace read_trace(std::span<const std::filesystem::path> files, const TraceSelection& selection) {
  Trace trace;
  for (const std::filesystem::path& file : files) FileReader(file, selection, trace).read();
  const bool any_step = std::ranges::any_of(trace.ranks, [](const RankTrace& rank) { return !rank.steps.empty(); });
  if (!any_step && !files.empty())
    throw DataError(fmt::format("[trace] {}{}: no step of the selected ranks and steps is in it.",
                                files.front().string(), files.size() > 1 ? ", ..." : ""));
  return trace;
}

Trace read_trace(const std::filesystem::path& where, const TraceSelection& selection) {
  return read_trace(trace_files(where), selection);
}

}  // namespace trine
