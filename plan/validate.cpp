#include "base/shape.h"
#include "base/text.h"
#include "plan/config.h"
#include "plan/flag_table.h"

namespace trine {
namespace {

constexpr int64_t kMaxBatch = 1 << 24;
constexpr int64_t kMaxSeq = 1 << 24;
constexpr int64_t kMaxTokens = INT32_MAX;  // of a microbatch: kernels and files index tokens with 32 bits
constexpr int kMaxRanks = 1 << 20;

class Checker {
 public:
  explicit Checker(Problems& problems) : problems_(problems) {}

  void count(const char* flag, int64_t value, int64_t min, int64_t max) {
    if (value < min || value > max) problems_.add("flags", "{} is {}; it needs {} to {}.", flag, value, min, max);
  }
  void positive(const char* flag, double value) {
    if (!(value > 0)) problems_.add("flags", "{} is {}; it needs more than 0.", flag, value);
  }
  void not_negative(const char* flag, double value) {
    if (!(value >= 0)) problems_.add("flags", "{} is {}; it needs 0 or more.", flag, value);
  }
  void fraction(const char* flag, double value) {
    if (!(value >= 0 && value < 1))
      problems_.add("flags", "{} is {}; it needs 0 or more, and less than 1.", flag, value);
  }

 private:
  Problems& problems_;
};

void validate_training(const Config& c, Problems& problems) {
  Checker check(problems);
  check.count("--seq", c.seq, 1, kMaxSeq);
  check.count("--steps", c.steps, 1, int64_t{1} << 40);
  check.count("--warmup", c.warmup, 0, int64_t{1} << 40);
  check.positive("--lr", c.lr);
  check.not_negative("--weight-decay", c.weight_decay);
  check.fraction("--beta1", c.beta1);
  check.fraction("--beta2", c.beta2);
  check.positive("--eps", c.eps);
  check.not_negative("--clip", c.clip);
  check.not_negative("--seed", static_cast<double>(c.seed));
  if (c.time_limit_s) check.positive("--time-limit", *c.time_limit_s);
  if (c.warmup > c.steps && c.steps > 0)
    problems.add("flags", "--warmup {} is more than {} steps. Lower --warmup, or raise --steps.", c.warmup,
                 c.steps);
  if (c.lr > 0 && !(c.min_lr >= 0 && c.min_lr <= c.lr))
    problems.add("flags", "--min-lr {} is not within 0 and --lr {}. Change it, or leave it out for lr / 10.",
                 c.min_lr, c.lr);

  const bool unscaled = !c.loss_scale.dynamic && c.loss_scale.value == 1;
  if (!c.loss_scale.dynamic) check.positive("--loss-scale", c.loss_scale.value);
  if (c.dtype != DType::kF16 && !unscaled)
    problems.add("flags", "--loss-scale is for fp16, but --dtype is {}. Leave it out, or take --dtype fp16.",
                 name(c.dtype));
}

void validate_batch(const Config& c, Problems& problems) {
  Checker check(problems);
  check.count("--global-batch", c.global_batch, 1, kMaxBatch);
  check.count("--micro-batch", c.micro_batch, 1, kMaxBatch);
  if (c.global_batch < 1 || c.micro_batch < 1 || c.global_batch > kMaxBatch || c.micro_batch > kMaxBatch) return;
  if (c.global_batch % (c.micro_batch * c.mesh.dp) != 0)
    problems.add(
        "batch",
        "global batch {} is not a multiple of micro batch {} * dp {}. Change --global-batch or --micro-batch.",
        c.global_batch, c.micro_batch, c.mesh.dp);
  if (c.seq > 0 && c.seq <= kMaxSeq && c.micro_batch * c.seq > kMaxTokens)
    problems.add("batch", "a microbatch of {} * {} tokens is more than {}. Lower --micro-batch.", c.micro_batch,
                 c.seq, format_count(kMaxTokens));
}

void validate_layout(const Config& c, int num_ranks, Problems& problems) {
  Checker check(problems);
  check.count("--tp", c.tp, 1, kMaxRanks);
  check.count("--pp", c.pp, 1, kMaxRanks);
  check.count("--vpp", c.vpp, 1, kMaxRanks);
  check.count("--local-ranks", c.local_ranks, 1, 4096);
  check.count("--zero", c.zero, 0, 1);
  if (c.planned_ranks) check.count("--ranks", *c.planned_ranks, 1, kMaxRanks);
  if (c.planned_ranks && !c.dry_run)
    problems.add("flags", "--ranks only plans. Add --dry-run, or start mpirun -np {}.", *c.planned_ranks);
  if (c.grad_reduce == DType::kF16) problems.add("flags", "--grad-reduce is fp16; it needs f32 or bf16.");
  if (c.tp < 1 || c.pp < 1 || c.vpp < 1) return;

  const int64_t model_ranks = int64_t{c.tp} * c.pp;
  const std::string ranks = fmt::format("{} rank{}", num_ranks, num_ranks == 1 ? "" : "s");
  if (num_ranks % model_ranks != 0)
    problems.add("mesh", "{} but tp*pp = {}. Start a multiple of {} ranks, or lower --tp or --pp.", ranks,
                 model_ranks, model_ranks);
  else if (c.expected_dp && *c.expected_dp != c.mesh.dp)
    problems.add("mesh", "--dp {} but {} / (tp {} * pp {}) = {}. Start {} ranks, or leave --dp out.",
                 *c.expected_dp, ranks, c.tp, c.pp, c.mesh.dp, *c.expected_dp * model_ranks);

  const LlamaConfig& m = c.model;
  if (m.heads % c.tp != 0)
    problems.add("mesh", "{} heads cannot be split over tp {}. Take a divisor of the heads as --tp.", m.heads,
                 c.tp);
  else if (m.kv_heads > 0 && m.kv_heads % c.tp != 0 && c.tp % m.kv_heads != 0)
    problems.add("mesh", "tp {} neither divides {} kv heads nor is a multiple of them. Change --tp.", c.tp,
                 m.kv_heads);
  if (m.layers > 0 && m.layers < int64_t{c.pp} * c.vpp)
    problems.add("mesh", "{} layers are fewer than pp {} * vpp {} stages. Lower --pp or --vpp.", m.layers, c.pp,
                 c.vpp);
  if (c.vpp > 1 && c.schedule != ScheduleKind::kInterleaved)
    problems.add("mesh", "--vpp {} needs --schedule interleaved, but it is {}.", c.vpp, name(c.schedule));
}

void validate_rest(const Config& c, Problems& problems) {
  Checker check(problems);
  check.count("--threads", c.threads, 1, 4096);
  check.positive("--timeout", c.timeout_s);
  check.fraction("--valid-fraction", c.valid_fraction);
  check.count("--valid-interval", c.valid_interval, 1, INT64_MAX);
  check.count("--valid-batches", c.valid_batches, 1, INT64_MAX);
  check.count("--log-interval", c.log_interval, 1, INT64_MAX);
  if (c.save_interval) check.count("--save-interval", *c.save_interval, 1, INT64_MAX);
  if (c.keep) check.count("--keep", *c.keep, 1, INT32_MAX);
  if (!c.valid_data.empty() && c.valid_fraction > 0)
    problems.add("flags", "both --valid-data and --valid-fraction are given. Keep one of them.");
  if (c.eval_only && c.valid_data.empty() && c.valid_fraction == 0)
    problems.add("flags", "--eval-only has nothing to validate on. Add --valid-data or --valid-fraction.");
  if (c.out.empty())
    problems.add("flags", "--out is empty; it needs a folder. Leave it out for runs/<model>-<time>.");
  if (c.tokenizer.empty()) problems.add("flags", "--tokenizer is empty; it needs bytes or a file.");
}

}  // namespace

void validate(const Config& config, int num_ranks, Problems& problems) {
  validate(config.model, problems);
  validate_batch(config, problems);
  validate_training(config, problems);
  validate_layout(config, num_ranks, problems);
  validate_rest(config, problems);
}

namespace {

// What the command line knows and no code fulfils yet: a line goes when its feature comes.
struct Unbuilt {
  std::string_view what;
  bool (*wished)(const Config&, int num_ranks);
};
constexpr Unbuilt kUnbuilt[] = {
    {"training on several ranks", [](const Config& c, int ranks) { return ranks > 1 && c.tp == 1 && c.pp == 1; }},
    {"--tp above 1", [](const Config& c, int) { return c.tp > 1; }},
    {"--pp above 1", [](const Config& c, int) { return c.pp > 1; }},
    {"--vpp above 1", [](const Config& c, int) { return c.vpp > 1; }},
    {"--local-ranks above 1", [](const Config& c, int) { return c.local_ranks > 1; }},
    {"--schedule other than 1f1b", [](const Config& c, int) { return c.schedule != ScheduleKind::k1F1B; }},
    {"--zero 1", [](const Config& c, int) { return c.zero > 0; }},
    {"--grad-reduce other than f32", [](const Config& c, int) { return c.grad_reduce != DType::kF32; }},
    {"--recompute other than none",
     [](const Config& c, int) { return c.recompute.kind != Recompute::Kind::kNone; }},
    {"--memory-budget", [](const Config& c, int) { return c.memory_budget.has_value(); }},
    {"--device cuda", [](const Config& c, int) { return c.device == DeviceKind::kCuda; }},
    {"--comm nccl", [](const Config& c, int) { return c.comm == CommKind::kNccl; }},
    {"--save-interval", [](const Config& c, int) { return c.save_interval.has_value(); }},
    {"--save", [](const Config& c, int) { return !c.save.empty(); }},
    {"--keep", [](const Config& c, int) { return c.keep.has_value(); }},
    {"--resume", [](const Config& c, int) { return c.resume.has_value(); }},
    {"--time-limit", [](const Config& c, int) { return c.time_limit_s.has_value(); }},
    {"--dry-run", [](const Config& c, int) { return c.dry_run; }},
    {"--json", [](const Config& c, int) { return c.json; }},
    {"--print-schedule", [](const Config& c, int) { return c.print_schedule; }},
};

}  // namespace

void refuse_unbuilt(const Config& config, int num_ranks, Problems& problems) {
  for (const Unbuilt& feature : kUnbuilt)
    if (feature.wished(config, num_ranks))
      problems.add("flags", "{} is not built yet. Leave it out.", feature.what);
}

std::string unbuilt_features() {
  std::string list;
  for (const Unbuilt& feature : kUnbuilt) list += fmt::format("{}{}", list.empty() ? "" : ", ", feature.what);
  return list;
}

}  // namespace trine
