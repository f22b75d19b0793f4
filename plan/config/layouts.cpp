#include "plan/config/layouts.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/shape.h"
#include "base/text.h"

namespace trine {
namespace {

constexpr int64_t kMaxTokens = INT32_MAX;  // of a microbatch: kernels and files index tokens with 32 bits

bool heads_fit(const LlamaConfig& m, int64_t tp) {
  return m.heads % tp == 0 && (m.kv_heads % tp == 0 || tp % m.kv_heads == 0);
}

std::string tps_for_heads(const LlamaConfig& m) {
  std::vector<int64_t> list;
  for (int64_t tp = 1; tp <= m.heads; ++tp)
    if (heads_fit(m, tp)) list.push_back(tp);
  return fmt::format("{}", fmt::join(list, ", "));
}

void check_ranks(const Config& c, int num_ranks, Problems& problems) {
  const int64_t model_ranks = int64_t{c.tp} * c.pp;
  const std::string ranks = fmt::format("{} rank{}", num_ranks, num_ranks == 1 ? "" : "s");
  const char* start = c.dry_run ? "Plan" : "Start";
  const char* how = c.dry_run ? " (--ranks)" : "";
  if (num_ranks % model_ranks != 0)
    problems.add("mesh", "{} but tp*pp = {}. {} a multiple of {} ranks{}, or lower --tp or --pp.", ranks,
                 model_ranks, start, model_ranks, how);
  else if (c.expected_dp && *c.expected_dp != c.mesh.dp)
    problems.add("mesh", "--dp {} but {} / (tp {} * pp {}) = {}. {} {} ranks{}, or leave --dp out.", *c.expected_dp,
                 ranks, c.tp, c.pp, c.mesh.dp, start, *c.expected_dp * model_ranks, how);
}

void check_model(const Config& c, Problems& problems) {
  const LlamaConfig& m = c.model;
  if (m.heads % c.tp != 0)
    problems.add("mesh", "{} heads cannot be split over tp {}. Take --tp from {}.", m.heads, c.tp,
                 tps_for_heads(m));
  else if (!heads_fit(m, c.tp))
    problems.add("mesh", "tp {} neither divides {} kv heads nor is a multiple of them. Take --tp from {}.", c.tp,
                 m.kv_heads, tps_for_heads(m));
  const auto check_split = [&](const char* what, int64_t size) {
    if (!split_is_valid(size, c.tp))
      problems.add("mesh", "{} {} over tp {} leaves a rank without any. Lower --tp.", what, size, c.tp);
  };
  check_split("vocab", m.vocab);
  check_split("ffn", m.ffn);
  if (m.layers < int64_t{c.pp} * c.vpp)
    problems.add("mesh", "{} layers are fewer than pp {} * vpp {} stages. Lower --pp or --vpp.", m.layers, c.pp,
                 c.vpp);
}

void check_schedule(const Config& c, Problems& problems) {
  if (c.vpp > 1 && c.schedule != ScheduleKind::kInterleaved)
    problems.add("mesh", "--vpp {} needs --schedule interleaved, but it is {}.", c.vpp, name(c.schedule));
  if (c.vpp > 1 && c.pp == 1)
    problems.add("mesh", "--vpp {} needs several pipeline ranks. Leave it out, or raise --pp.", c.vpp);
}

// REQUIRES: valid sizes of the batch.
void check_batch(const Config& c, Problems& problems) {
  const int64_t tokens = c.micro_batch * c.seq, multiple = c.micro_batch * c.mesh.dp;
  if (tokens > kMaxTokens)
    problems.add("batch", "a microbatch of {} * {} tokens is more than {}. Lower --micro-batch.", c.micro_batch,
                 c.seq, format_count(kMaxTokens));
  if (c.sequence_parallel && !split_is_valid(tokens, c.tp))
    problems.add("batch",
                 "a microbatch of {} * {} tokens over tp {} leaves a rank without any. Raise --micro-batch, lower "
                 "--tp, or pass --sp off.",
                 c.micro_batch, c.seq, c.tp);
  if (c.global_batch % multiple != 0) {
    problems.add(
        "batch",
        "global batch {} is not a multiple of micro batch {} * dp {}. Change --global-batch or --micro-batch.",
        c.global_batch, c.micro_batch, c.mesh.dp);
  } else if (c.schedule == ScheduleKind::kInterleaved) {
    if (const auto problem = interleaved_problem(c.pp, static_cast<int>(c.num_microbatches())))
      problems.add("schedule", "{}", *problem);
  }
}

bool model_is_valid(const Config& c) {
  Problems problems;
  validate(c.model, problems);
  return problems.empty();
}

bool batch_is_valid(const Config& c) {
  const auto within = [](int64_t size, int64_t most) { return size >= 1 && size <= most; };
  return within(c.seq, kMaxSeq) && within(c.micro_batch, kMaxBatch) && within(c.global_batch, kMaxBatch);
}

bool mesh_is_valid(const Config& c) { return std::min({c.tp, c.pp, c.vpp}) >= 1; }

// What validate() has a problem with already is not looked at again. Without a whole number of ranks for each copy
// of the model there is no dp.
void check_layout(const Config& c, int num_ranks, Problems& problems) {
  if (!mesh_is_valid(c)) return;
  check_ranks(c, num_ranks, problems);
  check_schedule(c, problems);
  if (model_is_valid(c)) check_model(c, problems);
  if (batch_is_valid(c) && num_ranks % (int64_t{c.tp} * c.pp) == 0) check_batch(c, problems);
}

}  // namespace

bool layout_is_valid(const Config& c, int num_ranks) {
  Problems problems;
  check_layout(c, num_ranks, problems);
  return problems.empty();
}

namespace {

// A layout near the wished one.
struct Candidate {
  std::string flags;
  double distance = 0;
};

// Searches around a configuration that is not valid.
class Neighbours {
 public:
  Neighbours(const Config& config, int num_ranks) : wish_(config), num_ranks_(num_ranks) {}

  std::vector<Candidate> find() {
    for (int64_t tp = 1; tp <= std::min<int64_t>(wish_.model.heads, num_ranks_); ++tp) {
      if (num_ranks_ % tp != 0 || !heads_fit(wish_.model, tp)) continue;
      for (int64_t pp = 1; pp <= std::min<int64_t>(wish_.model.layers / wish_.vpp, num_ranks_ / tp); ++pp)
        if (num_ranks_ / tp % pp == 0) add_layout(static_cast<int>(tp), static_cast<int>(pp));
    }
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Candidate& a, const Candidate& b) { return a.distance < b.distance; });
    return std::move(found_);
  }

 private:
  // The batch as it is, else with another microbatch, else the global batches below and above.
  void add_layout(int tp, int pp) {
    Config c = wish_;
    c.tp = tp, c.pp = pp, c.mesh = {.pp = pp, .dp = num_ranks_ / (tp * pp), .tp = tp};
    c.sequence_parallel = tp > 1;
    if (c.vpp > 1) c.schedule = ScheduleKind::kInterleaved;
    if (layout_is_valid(c, num_ranks_)) return add(c);
    for (int64_t size = c.micro_batch; size >= 1; --size) {
      if (c.global_batch % (size * c.mesh.dp) != 0) continue;
      Config smaller = c;
      smaller.micro_batch = size;
      if (layout_is_valid(smaller, num_ranks_)) return add(smaller);
    }
    add_global_batch(c, -1), add_global_batch(c, 1);
  }

  void add_global_batch(Config c, int direction) {
    const int64_t multiple = c.micro_batch * c.mesh.dp;
    const int64_t nearest = direction < 0 ? c.global_batch / multiple : div_up(c.global_batch, multiple);
    for (int64_t i = 0; i <= c.pp; ++i) {  // interleaved takes some count within pp of any
      c.global_batch = (nearest + direction * i) * multiple;
      if (c.global_batch < 1 || c.global_batch > kMaxBatch) return;
      if (layout_is_valid(c, num_ranks_)) return add(c);
    }
  }

  // By their ratio to the wished layout: those that cut the model into as many parts first, because they need as
  // much memory, and those that change what is trained last.
  void add(const Config& c) {
    constexpr double kParts = 1.5, kBatchChanged = 8;
    const auto ratio = [](double a, double b) { return std::abs(std::log2(a / b)); };
    Candidate candidate{"", ratio(c.tp, wish_.tp) + ratio(c.pp, wish_.pp) +
                                kParts * ratio(1.0 * c.tp * c.pp, 1.0 * wish_.tp * wish_.pp)};
    const bool moved = c.tp != wish_.tp || c.pp != wish_.pp;
    if (moved) candidate.flags += fmt::format(" --tp {} --pp {}", c.tp, c.pp);
    if (c.schedule != wish_.schedule) candidate.flags += fmt::format(" --schedule {}", name(c.schedule));
    // A default microbatch would be chosen anew: where the count matters, say it.
    if (c.micro_batch != wish_.micro_batch || (moved && c.schedule == ScheduleKind::kInterleaved))
      candidate.flags += fmt::format(" --micro-batch {}", c.micro_batch);
    if (c.global_batch != wish_.global_batch) {
      candidate.flags += fmt::format(" --global-batch {}", c.global_batch);
      candidate.distance +=
          kBatchChanged * (1 + ratio(static_cast<double>(c.global_batch), static_cast<double>(wish_.global_batch)));
    }
    if (!candidate.flags.empty()) candidate.flags.erase(0, 1);
    found_.push_back(std::move(candidate));
  }

  const Config& wish_;
  const int num_ranks_;
  std::vector<Candidate> found_;
};

}  // namespace

std::vector<std::string> nearest_layouts(const Config& config, int num_ranks, size_t most) {
  std::vector<std::string> list;
  if (!model_is_valid(config) || !batch_is_valid(config) || !mesh_is_valid(config)) return list;
  for (Candidate& candidate : Neighbours(config, num_ranks).find())
    if (list.size() < most) list.push_back(std::move(candidate.flags));
  return list;
}

void validate_layout(const Config& c, int num_ranks, Problems& problems) {
  const size_t before = problems.list().size();
  check_layout(c, num_ranks, problems);
  if (problems.list().size() == before) return;
  if (const auto layouts = nearest_layouts(c, num_ranks); !layouts.empty())
    problems.add("layout", "the nearest valid layouts of {} rank{}: {}.", num_ranks, num_ranks == 1 ? "" : "s",
                 fmt::join(layouts, ", "));
}

namespace {

std::vector<std::string> bubble_warnings(const Config& c) {
  const int pp = c.mesh.pp;
  const int64_t microbatches = c.num_microbatches(), enough = 4 * int64_t{pp}, batch = c.global_batch / c.mesh.dp;
  const auto bubble = [&](ScheduleKind kind, int64_t m) {
    return 100 * ideal_bubble(kind, pp, kind == c.schedule ? c.vpp : 1, m).share;
  };
  if (bubble(c.schedule, microbatches) <= bubble(ScheduleKind::k1F1B, enough) || pp == 1) return {};
  std::string text = fmt::format(
      "[schedule] {} microbatch{} for pp {}: {:.0f} % of the ranks' time is idle at best ({}). {} would make it "
      "{:.0f} %: raise --global-batch to {}",
      microbatches, microbatches == 1 ? "" : "es", pp, bubble(c.schedule, microbatches),
      ideal_bubble(c.schedule, pp, c.vpp, microbatches).formula, enough, bubble(c.schedule, enough),
      enough * c.micro_batch * c.mesh.dp);
  int64_t micro_batch = batch / enough;
  while (micro_batch > 1 && batch % micro_batch != 0) --micro_batch;
  if (micro_batch >= 1) text += fmt::format(", lower --micro-batch to {}", micro_batch);
  text += ", or lower --pp";
  if (c.schedule == ScheduleKind::k1F1B || c.schedule == ScheduleKind::kGpipe)
    text += fmt::format("; --schedule zero-bubble would make it {:.0f} %",
                        bubble(ScheduleKind::kZeroBubble, microbatches));
  return {text + "."};
}

// Rows of logits as tensor cores want them; small vocabularies take no time.
std::vector<std::string> vocabulary_warnings(const Config& c) {
  constexpr int64_t kAlignedBytes = 16, kPadding = 64, kSmall = 4096;
  const int64_t vocab = c.model.vocab, tp = c.mesh.tp, bytes = size_bytes(c.dtype);
  if (c.device != DeviceKind::kCuda || vocab < kSmall || vocab * bytes % (kAlignedBytes * tp) == 0) return {};
  const int64_t padded = (vocab + kPadding * tp - 1) / (kPadding * tp) * (kPadding * tp);
  return {fmt::format(
      "[vocab] {} tokens{}: rows of the logits are no multiple of {} bytes, which makes their products nearly twice as "
      "long on tensor cores. For a new model, --vocab {} avoids it; the tokens that are added are never used.",
      vocab, tp > 1 ? fmt::format(" over tp {}", tp) : "", kAlignedBytes, padded)};
}

}  // namespace

std::vector<std::string> layout_warnings(const Config& config) {
  std::vector<std::string> warnings = bubble_warnings(config);
  for (std::string& warning : vocabulary_warnings(config)) warnings.push_back(std::move(warning));
  return warnings;
}

}  // namespace trine
