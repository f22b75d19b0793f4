#include "plan/config/config.h"
#include "plan/config/layouts.h"

namespace trine {
namespace {

constexpr int kMaxRanks = 1 << 20;
constexpr int64_t kMaxSteps = 2'000'000'000;  // events, checkpoints and Adam count steps with 32 bits

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
  check.count("--steps", c.steps, 1, kMaxSteps);
  check.count("--warmup", c.warmup, 0, kMaxSteps);
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
  const double tokens =
      static_cast<double>(c.steps) * static_cast<double>(c.global_batch) * static_cast<double>(c.seq);
  if (tokens > 0x1p62)
    problems.add("batch", "{} steps of {} * {} tokens are more tokens than 64 bits count. Lower --steps.", c.steps,
                 c.global_batch, c.seq);
}

void validate_parallelism(const Config& c, Problems& problems) {
  Checker check(problems);
  check.count("--tp", c.tp, 1, kMaxRanks);
  check.count("--pp", c.pp, 1, kMaxRanks);
  check.count("--vpp", c.vpp, 1, kMaxRanks);
  check.count("--local-ranks", c.local_ranks, 1, 4096);
  check.count("--zero", c.zero, 0, 1);
  if (c.planned_ranks) check.count("--ranks", *c.planned_ranks, 1, kMaxRanks);
  const bool predicts = c.dry_run && (!c.cluster.empty() || !c.emulate_links.empty());
  for (const auto& [flag, given] :
       {std::pair{"--set", !c.cluster_changes.empty()}, std::pair{"--slow", !c.slow_ranks.empty()}})
    if (given && !predicts && !c.rehearsal)
      problems.add(
          "flags",
          "{} belongs to a prediction or a rehearsal. Add --cluster NAME, and --dry-run or --device rehearsal.",
          flag);
  for (const auto& [flag, given] :
       {std::pair{"--predict-trace", !c.predict_trace.empty()}, std::pair{"--detail", c.detail.has_value()},
        std::pair{"--what-if", c.what_if.has_value()}})
    if (given && !predicts)
      problems.add("flags", "{} belongs to a prediction. Add --dry-run --cluster NAME.", flag);
  if (!c.predict_trace.empty() && c.detail == Detail::kAction)
    problems.add("flags", "--predict-trace writes every node, and --detail is action. Leave out --detail.");
  if (c.planned_ranks && !c.dry_run)
    problems.add("flags", "--ranks only plans. Add --dry-run, or start mpirun -np {}.", *c.planned_ranks);
  if (c.json && !c.dry_run) problems.add("flags", "--json is a form of --dry-run. Add --dry-run.");
  if (c.grad_reduce == DType::kF16) problems.add("flags", "--grad-reduce is fp16; it needs f32 or bf16.");
}

// Nothing is computed, so what concerns numbers makes no sense.
void validate_rehearsal(const Config& c, Problems& problems) {
  if (!(c.jitter >= 0 && c.jitter <= 1)) problems.add("flags", "--jitter is {}; it needs 0 to 1.", c.jitter);
  if (!(c.speed_up > 0 && c.speed_up <= 1e6))
    problems.add("flags", "--speed-up is {}; it needs more than 0, and at most 1e6.", c.speed_up);
  if (!c.rehearsal) {
    for (const auto& [flag, given] :
         {std::pair{"--jitter", c.jitter != 0}, std::pair{"--speed-up", c.speed_up != 1}})
      if (given) problems.add("flags", "{} is of a rehearsal. Add --device rehearsal --cluster NAME.", flag);
    return;
  }
  if (c.cluster.empty())
    problems.add("flags",
                 "--device rehearsal stands for a device of a cluster. Add --cluster NAME, such as rtx4090.");
  for (const auto& [flag, given] :
       {std::pair{"--load-weights", !c.load_weights.empty()}, std::pair{"--eval-only", c.eval_only}})
    if (given)
      problems.add("flags", "{} is for numbers, and --device rehearsal computes none. Leave it out.", flag);
  if (c.comm == CommKind::kMpi)
    problems.add(
        "flags",
        "--comm mpi stages through the host, and a rehearsal's devices talk among themselves. Leave it out.");
}

void validate_emulation(const Config& c, Problems& problems) {
  const bool given = !c.emulate_links.empty();
  if (c.dilation && !given) problems.add("flags", "--dilation is of emulated links. Add --emulate-links NAME.");
  if (c.dilation && !(*c.dilation > 0 && *c.dilation <= 1e9))
    problems.add("flags", "--dilation is {}; it needs more than 0, and at most 1e9.", *c.dilation);
  if (!given) return;
  if (c.device != DeviceKind::kCpu && c.dry_run && !c.cluster.empty())
    problems.add("flags",
                 "--emulate-links is for kernels of CPUs, and --cluster {} has none. Give it what measure_cluster "
                 "wrote, or leave it out.",
                 c.cluster);
  else if (c.device != DeviceKind::kCpu)
    problems.add("flags",
                 "--emulate-links is for kernels of CPUs, but --device is not cpu. Leave --device out, or rehearse "
                 "(--device rehearsal --cluster NAME).");
}

void validate_rest(const Config& c, int num_ranks, Problems& problems) {
  Checker check(problems);
  check.count("--threads", c.threads, 1, 4096);
  if (!(c.timeout_s >= kShortestTimeoutS))
    problems.add("flags", "--timeout is {}; it needs {} seconds or more.", c.timeout_s, kShortestTimeoutS);
  if (c.comm == CommKind::kNccl && c.device != DeviceKind::kCuda)
    problems.add("flags", "--comm nccl is for --device cuda, but --device is {}. Leave it out.", name(c.device));
  if (c.kernels.attention == AttentionKind::kCudnn && c.device != DeviceKind::kCuda)
    problems.add("flags", "--attention cudnn is for --device cuda, but --device is {}. Leave it out.",
                 name(c.device));
  if (c.kernels.graphs == GraphKind::kOn && c.device != DeviceKind::kCuda)
    problems.add("flags", "--cuda-graphs on is for --device cuda, but --device is {}. Leave it out.",
                 name(c.device));
  check.fraction("--valid-fraction", c.valid_fraction);
  check.count("--valid-interval", c.valid_interval, 1, INT64_MAX);
  check.count("--valid-batches", c.valid_batches, 0, INT64_MAX);
  check.count("--log-interval", c.log_interval, 1, INT64_MAX);
  if (c.save_interval) check.count("--save-interval", *c.save_interval, 1, INT64_MAX);
  if (c.keep) check.count("--keep", *c.keep, 1, INT32_MAX);
  if (!c.valid_data.empty() && c.valid_fraction > 0)
    problems.add("flags", "both --valid-data and --valid-fraction are given. Keep one of them.");
  if (c.eval_only && ((c.valid_data.empty() && c.valid_fraction == 0) || c.valid_batches == 0))
    problems.add(
        "flags",
        "--eval-only has nothing to validate on. Add --valid-data or --valid-fraction, and a --valid-batches.");
  if (c.trace_ranks.highest() >= num_ranks)
    problems.add("flags",
                 "--trace-ranks names rank {}, but there are {} ranks, from 0 on. Leave it out, or lower it.",
                 c.trace_ranks.highest(), num_ranks);
  if (c.trace_limit.count < 1)
    problems.add("flags", "--trace-limit is {}; it needs a byte or more.", c.trace_limit.count);
  if (c.out.empty())
    problems.add("flags", "--out is empty; it needs a folder. Leave it out for runs/<model>-<time>.");
  if (c.tokenizer.empty()) problems.add("flags", "--tokenizer is empty; it needs bytes or a file.");
}

}  // namespace

void validate(const Config& config, int num_ranks, Problems& problems) {
  validate(config.model, problems);
  validate_batch(config, problems);
  validate_training(config, problems);
  validate_parallelism(config, problems);
  validate_layout(config, num_ranks, problems);
  validate_rehearsal(config, problems);
  validate_emulation(config, problems);
  validate_rest(config, num_ranks, problems);
}

}  // namespace trine
