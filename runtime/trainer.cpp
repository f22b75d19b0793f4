#include "runtime/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "data/datasets.h"
#include "data/tokenizer.h"
#include "plan/learning_rate.h"
#include "runtime/parameters.h"
#include "runtime/process_memory.h"

namespace trine {
namespace {

// A ring that holds two steps: the one that runs and the one that is written.
size_t trace_capacity(const Plan& plan) {
  const size_t nodes = plan.stages[0].graph.nodes().size();
  const size_t microbatches = static_cast<size_t>(plan.config.num_microbatches());
  return std::min<size_t>(2 * (nodes * microbatches + 64), size_t{1} << 22);
}

OutOfMemoryError out_of_memory(const Plan& plan, const std::string& reason) {
  return OutOfMemoryError(
      fmt::format("[memory] the plan needs {} per rank, but {}:\n{}Lower --micro-batch, --seq or the "
                  "model's size.",
                  format_bytes(plan.stages[0].memory.total_bytes()), reason, print(plan.stages[0].memory)));
}

// Asked before anything is allocated, so that no process is killed halfway.
void check_memory(const Plan& plan) {
  const int64_t have = available_bytes();
  if (plan.stages[0].memory.total_bytes() > have)
    throw out_of_memory(plan, fmt::format("only {} can be had here", format_bytes(have)));
}

}  // namespace

Trainer::Trainer(const Plan& plan, Log& log)
    : plan_(plan), config_(plan.config), log_(log), trace_(trace_capacity(plan)), scaler_(config_.loss_scale) {}

void Trainer::prepare() {
  const auto tokenizer = make_tokenizer(config_.tokenizer);
  const bool own_text = config_.data.empty() && !config_.random_tokens;
  if (own_text && tokenizer->vocab_size() > config_.model.vocab)
    throw ConfigError(
        fmt::format("[data] tokenizer {} has {} ids, the model's vocabulary {}. Use another --tokenizer or raise "
                    "--vocab.",
                    tokenizer->name(), tokenizer->vocab_size(), config_.model.vocab));
  const Datasets data = open_datasets({.data = {config_.data.begin(), config_.data.end()},
                                       .valid_data = config_.valid_data,
                                       .valid_fraction = config_.valid_fraction,
                                       .vocab_size = config_.model.vocab,
                                       .random = config_.random_tokens,
                                       .seed = static_cast<uint64_t>(config_.seed)},
                                      *tokenizer);
  const auto seed = static_cast<uint64_t>(config_.seed);
  train_ = std::make_unique<BatchReader>(data.train, config_.seq, seed, config_.shuffle);
  if (data.valid) valid_ = std::make_unique<BatchReader>(data.valid, config_.seq, seed, false);
  log_.info(fmt::format("data   {}: {} tokens, {} samples of {} an epoch{}", data.train->describe(),
                        format_count(data.train->size()), format_count(train_->sampler().samples_per_epoch()),
                        config_.seq,
                        valid_ ? fmt::format("; validation {} tokens", format_count(data.valid->size())) : ""));

  check_memory(plan_);
  backend_ = make_cpu_backend(config_.threads);
  try {
    executor_ = std::make_unique<Executor>(plan_.stages[0], config_, Coordinate{}, *backend_, trace_);
  } catch (const OutOfMemoryError& error) {
    throw out_of_memory(plan_, error.what());
  }
  const Graph& graph = plan_.stages[0].graph;
  set_parameters(
      *executor_,
      config_.load_weights.empty() ? initial_values(graph, seed) : hugging_face_values(config_.load_weights, graph),
      config_.threads);
  log_.info(fmt::format("device {}; {} planned per rank", backend_->describe(),
                        format_bytes(plan_.stages[0].memory.total_bytes())));
}

HostStep Trainer::load_samples(const BatchReader& reader, int64_t first_sample) {
  const int64_t rows = config_.global_batch / config_.mesh.dp;
  ids_.resize(static_cast<size_t>(rows * config_.seq));
  labels_.resize(ids_.size());
  reader.fill(first_sample, rows, ids_.data(), labels_.data());
  return {.ids = ids_, .labels = labels_, .loss_scale = static_cast<float>(scaler_.scale())};
}

TrainingEnd Trainer::train(const RunFolder& folder, const MetricsHeader& header, StopSignal& stop) {
  MetricsWriter metrics(folder.metrics(), header);
  std::optional<TraceWriter> trace;
  if (config_.trace.any())
    trace.emplace(folder.trace(0), 0, 1, TraceLabels{.device = backend_->describe(), .coordinate = ""});
  Progress progress(
      log_, {.last_step = config_.steps, .log_interval = config_.log_interval, .memory_limit_bytes = std::nullopt});
  TrainingEnd end;
  step_begin_ns_ = now_ns();
  for (int64_t step = 1; step <= config_.steps; ++step) {
    const StepMetrics now = run_step(step - 1);
    metrics.write(now);
    warn_output(metrics.file());
    progress.step(now);
    if (trace && config_.trace.contains(step)) {
      trace->write_step(plan_.stages[0].graph, trace_.step(static_cast<int>(step)));
      warn_output(trace->file());
    }
    if (step == 1) report_outside_memory();
    const bool last = step == config_.steps;
    if (valid_ && (last || step % config_.valid_interval == 0)) {
      const double loss = validate();
      metrics.write_validation(step, loss);
      log_.info(fmt::format("step {} | validation loss {:.4f}", step, loss));
      step_begin_ns_ = now_ns();
    }
    if (!last && stop.stop_requested()) {
      end.stop_reason = stop.reason();
      break;
    }
  }
  progress.finish();
  if (trace) trace->close();
  if (trace_.dropped() > 0)
    log_.warn(fmt::format("{} trace events did not fit the ring: the times of metrics.jsonl miss them",
                          trace_.dropped()));
  end.output_failed = metrics.file().failed() || (trace && trace->file().failed());
  return end;
}

// One optimizer step. Its time begins where the last one ended, so that what the host does in between (metrics,
// trace, terminal) is part of it; validation is not.
StepMetrics Trainer::run_step(int64_t index) {
  const int step = static_cast<int>(index + 1);
  const int64_t begin_ns = step_begin_ns_, start_ns = now_ns();
  HostStep host = load_samples(*train_, index * config_.global_batch);
  host.lr = static_cast<float>(learning_rate(config_, index));
  const int64_t loaded_ns = now_ns();
  const auto record = [&](int64_t from, int64_t to, EventKind kind) {
    trace_.record({.t0_ns = from, .t1_ns = to, .step = step, .lane = Lane::kHost, .kind = kind});
  };
  record(begin_ns, start_ns, EventKind::kHost);
  record(start_ns, loaded_ns, EventKind::kData);

  bool skipped = false;
  const double scale = scaler_.scale();
  const StepResult result = run_until_finite_or_skipped(host, step, skipped);
  const int64_t end_ns = step_begin_ns_ = now_ns();
  const StepBreakdown time = account(trace_.step(step), begin_ns, end_ns);
  const double tokens = static_cast<double>(config_.tokens_per_step());
  const double flops = model_flops_per_token(config_.model, config_.seq) * tokens / config_.mesh.num_ranks();
  return {.step = step,
          .loss = result.loss,
          .grad_norm = skipped ? std::nullopt : std::optional(result.grad_norm),
          .lr = static_cast<double>(host.lr),
          .tokens = step * config_.tokens_per_step(),
          .tokens_per_s = tokens / time.step_s,
          .tflops = flops / time.step_s * 1e-12,
          .mfu = std::nullopt,
          .memory_peak_bytes = peak_resident_bytes(),
          .loss_scale = scale,
          .skipped = skipped,
          .time = time};
}

StepResult Trainer::run_until_finite_or_skipped(const HostStep& host, int step, bool& skipped) {
  const StepResult result = executor_->train_step(host, step);
  if (result.valid_tokens == 0)
    throw DataError(
        fmt::format("[data] step {} has no token that counts in the loss. Check the data's labels.", step));
  scaler_.update(result.applied);
  if (result.applied) return result;
  skipped = true;
  const bool overflow = scaler_.dynamic() && std::isfinite(result.loss);  // expected of fp16: the scale is halved
  if (scaler_.exhausted() || (!overflow && config_.on_non_finite == OnNonFinite::kStop))
    stop_non_finite(host, step, result);
  log_.warn(fmt::format("step {} is skipped: {} is not finite{}", step,
                        std::isfinite(result.loss) ? "a gradient" : "the loss",
                        scaler_.dynamic() ? fmt::format("; loss scale now {}", scaler_.scale()) : ""));
  return result;
}

void Trainer::stop_non_finite(const HostStep& host, int step, const StepResult& result) {
  const auto culprit = executor_->find_non_finite(host, step);
  throw NonFiniteError(
      fmt::format("[training] step {} is not finite (loss {}, gradient norm {}) and was not applied.\n  first "
                  "non-finite tensor: {}\n"
                  "Lower --lr, check the data, or pass --on-non-finite skip.",
                  step, result.loss, result.grad_norm,
                  culprit ? culprit->tensor : "none when the step ran again (a fault of the machine?)"));
}

double Trainer::validate() {
  TRINE_CHECK(valid_ != nullptr, "no validation data");
  const int64_t whole = valid_->sampler().samples_per_epoch() / config_.global_batch;
  const int64_t batches = std::clamp<int64_t>(config_.valid_batches, 1, std::max<int64_t>(1, whole));
  double loss = 0, tokens = 0;
  for (int64_t i = 0; i < batches; ++i) {
    const HostStep host = load_samples(*valid_, i * config_.global_batch);
    const StepResult result = executor_->evaluate(host, 0);
    loss += result.loss * result.valid_tokens;
    tokens += result.valid_tokens;
  }
  return loss / tokens;
}

// Once everything ran: what no plan can know.
void Trainer::report_outside_memory() {
  const std::span<const std::byte> arena = executor_->arena();
  const int64_t in_arena = resident_bytes_in(arena.data(), arena.size());
  log_.info(fmt::format("memory {} resident: {} of the plan's {}, {} outside the plan",
                        format_bytes(resident_bytes()), format_bytes(in_arena),
                        format_bytes(static_cast<int64_t>(arena.size())),
                        format_bytes(resident_bytes() - in_arena)));
}

void Trainer::warn_output(OutputFile& file) {
  if (const auto warning = file.take_warning()) log_.warn(*warning);
}

}  // namespace trine
