#include "runtime/training/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "base/program.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/hash.h"
#include "checkpoint/saved_model.h"
#include "data/datasets.h"
#include "data/token_identity.h"
#include "models/llama.h"
#include "plan/host_memory.h"
#include "plan/learning_rate.h"
#include "runtime/device/devices.h"
#include "runtime/device/process_memory.h"
#include "runtime/device/rehearsal/rehearsal_backend.h"
#include "runtime/generation/model_folder.h"
#include "runtime/job/agreement.h"
#include "runtime/job/memory_check.h"
#include "runtime/state/checkpointing.h"
#include "runtime/state/parameters.h"
#include "runtime/step/link_pacer.h"
#include "runtime/training/rehearsed.h"
#include "runtime/training/saver.h"
#include "trace/arena_use.h"

namespace trine {
namespace {

// A ring that holds two steps: the one that runs and the one that is written. A communication gives two events.
size_t trace_capacity(const StagePlan& stage, const Config& config) {
  const size_t events = 2 * stage.graph.nodes().size();
  const size_t microbatches = static_cast<size_t>(config.num_microbatches());
  return std::min<size_t>(2 * (events * microbatches + 64), size_t{1} << 22);
}

// Device memory in use, by others too, or the most that this process has held of the host's.
int64_t memory_in_use(const Backend& backend) {
  const auto room = backend.room();
  return room ? room->total_bytes - room->free_bytes : peak_resident_bytes();
}

}  // namespace

Trainer::~Trainer() = default;

Trainer::Trainer(const Plan& plan, Log& log, CommLanes* lanes, const ModelledDevice* modelled)
    : plan_(plan),
      config_(plan.config),
      log_(log),
      lanes_(lanes),
      modelled_(modelled),
      coordinate_(lanes ? lanes->world().coordinate() : Coordinate{}),
      trace_(trace_capacity(stage(), config_)),
      scaler_(config_.loss_scale) {}

void Trainer::emulate(EmulatedLinks links) {
  if (!lanes_) return;
  pacer_ = std::make_unique<LinkPacer>(lanes_->world(), std::move(links));
  lanes_->pace(pacer_.get());
}

void Trainer::open_own_data() {
  tokenizer_ = make_tokenizer(config_.tokenizer);
  if (!tokenizer_->note().empty()) log_.warn(tokenizer_->note());
  const Datasets data = open_datasets({.data = {config_.data.begin(), config_.data.end()},
                                       .valid_data = config_.valid_data,
                                       .valid_fraction = config_.valid_fraction,
                                       .vocab_size = config_.model.vocab,
                                       .random = config_.random_tokens,
                                       .seed = static_cast<uint64_t>(config_.seed)},
                                      *tokenizer_);
  const auto seed = static_cast<uint64_t>(config_.seed);
  train_ = std::make_unique<BatchReader>(data.train, config_.seq, seed, config_.shuffle);
  if (data.valid && config_.valid_batches > 0)
    valid_ = std::make_unique<BatchReader>(data.valid, config_.seq, seed, false);
  train_identity_ = identity_of(*data.train);
  if (valid_) valid_identity_ = identity_of(*data.valid);
  log_.info(fmt::format("data   {}: {} tokens, {} samples of {} an epoch{}", data.train->describe(),
                        format_count(data.train->size()), format_count(train_->sampler().samples_per_epoch()),
                        config_.seq,
                        valid_ ? fmt::format("; validation {} tokens", format_count(data.valid->size())) : ""));
}

void Trainer::open_data() {
  if (modelled_) return;
  run_agreed(world(), [&] { open_own_data(); });
}

Facts Trainer::data_facts() const {
  if (modelled_) return {};
  Facts facts = {{"the tokenizer's hash", fmt::format("{:016x}", tokenizer_->hash())},
                 {"the training data", train_identity_}};
  if (valid_) facts.emplace_back("the validation data", valid_identity_);
  return facts;
}

bool Trainer::prepare(StopSignal* stop) {
  const auto stopping = [&] {
    return gather_all(world(), rank() == 0 && stop != nullptr && stop->stop_requested() ? 1 : 0)[0] != 0;
  };
  if (stopping()) return false;
  if (!tokenizer_ && !modelled_) open_data();
  run_on_first(world(), [&] {
    if (!config_.eval_only) check_saves(config_);
  });
  open_device();
  if (stopping()) return false;
  run_agreed(world(), [&] {
    try {
      executor_ = std::make_unique<Executor>(stage(), config_, coordinate_, *backend_, trace_, lanes_);
    } catch (const OutOfMemoryError& error) {
      throw out_of_memory(plan_, coordinate_, error.what());
    }
  });
  if (config_.mesh.tp > 1)  // its ranks hold copies of some weights, which must stay copies
    backend_->adopt_trials(told_by_first(&lanes_->group(Axis::kTp), backend_->trial_results()));
  for (const auto& [library, bytes] : backend_->library_bytes()) outside_.part(library, bytes);
  outside_.note(*backend_, "kernels", static_cast<int64_t>(executor_->arena().size()));
  if (modelled_) write_rehearsed_scalars(*executor_, config_);
  if (!config_.resume_saves.empty())
    resume();
  else if (!modelled_)
    load();
  const int64_t on_host = host_memory(stage(), config_, coordinate_).total_bytes();
  log_.info(fmt::format("device {}; {} planned per rank{}", backend_->describe(),
                        format_bytes(stage().memory.total_bytes()),
                        on_host > 0 ? fmt::format(", and {} beside it on the host", format_bytes(on_host)) : ""));
  if (!executor_->trials().empty()) log_.info("kernels " + executor_->trials());
  for (const std::string& notice : backend_->notices()) log_.warn(notice);
  return !stopping();
}

// The backend, and how its ranks' devices talk.
void Trainer::open_device() {
  std::unique_ptr<DeviceWorld> device;
  if (modelled_) {
    backend_ = make_rehearsal_backend(*modelled_);
    if (lanes_) device = make_rehearsal_world(lanes_->world(), *backend_);
  } else {
    backend_ = make_backend(config_.device, config_.threads, world(), config_.kernels);
    outside_.note(*backend_, "context and other processes");
    check_memory(plan_, coordinate_, *backend_, world(), available_bytes());
    if (lanes_)
      device = connect_devices(config_, step_work(stage(), config_.num_microbatches()), *backend_, lanes_->world(),
                               log_);
  }
  if (device) lanes_->talk_on_device(std::move(device), config_.timeout());
  outside_.note(*backend_, "communicators");
}

// The weights to begin with.
void Trainer::load() {
  const std::string& from = config_.load_weights;
  std::optional<CheckpointPlace> saved;
  run_agreed(world(), [&] {
    if (!from.empty()) saved = find_checkpoints(from);
  });
  check_same_on_all(world(), {{"--load-weights " + from, saved ? "a checkpoint" : "no checkpoint"}});
  if (saved) {
    Checkpoint checkpoint = open_checkpoint(saved->folder, saved->checkpoint, rank(), world(), log_);
    run_agreed(world(), [&] {
      check_fits(from, weight_shapes(checkpoint), plan_);
      load_weights(*executor_, checkpoint);
    });
    log_.info(fmt::format("load   weights of {}; rank 0 read {}", checkpoint.folder().string(),
                          format_bytes(checkpoint.bytes_read())));
    return;
  }
  Facts facts;
  run_agreed(world(), [&] {
    const auto seed = static_cast<uint64_t>(config_.seed);
    const ParameterSource weights =
        from.empty() ? initial_values(stage().graph, seed) : hugging_face_values(from, plan_);
    set_parameters(*executor_, weights, config_.threads);
    if (from.empty()) return;
    std::vector<float> norm(static_cast<size_t>(config_.model.hidden));  // training changes it in every step
    weights("model.norm.weight", 0, norm);
    const std::string_view bytes(reinterpret_cast<const char*>(norm.data()), norm.size() * sizeof(float));
    facts.emplace_back("the weight of the last norm in " + from + " (a hash)", hex(xxh3(bytes)));
  });
  check_same_on_all(world(), facts);
}

void Trainer::resume() {
  if (!config_.resume_warning.empty()) log_.warn(config_.resume_warning);
  Checkpoint checkpoint = open_checkpoint(config_.resume_saves, config_.resume_checkpoint, rank(), world(), log_);
  const Manifest& manifest = checkpoint.manifest();
  run_agreed(world(), [&] {
    if (modelled_) return check_same_rehearsal(manifest, config_);
    check_same_training(manifest, config_, *tokenizer_, train_identity_);
    load_state(*executor_, checkpoint);
  });
  const TrainingState& saved = manifest.state;
  scaler_.restore(saved.loss_scale, static_cast<int>(saved.clean_steps));
  first_step_ = saved.step + 1;
  next_sample_ = saved.sample;
  tokens_ = saved.tokens;
  if (valid_identity_.empty()) valid_identity_ = saved.valid_data;
  const bool other_validation = !saved.valid_data.empty() && saved.valid_data != valid_identity_;
  if (!other_validation) best_valid_loss_ = saved.best_valid_loss;
  const std::string from = to_string(manifest.layout), to = to_string(layout_of(config_));
  log_.info(fmt::format("resume {} after step {}{}; rank 0 read {}", checkpoint.folder().string(), saved.step,
                        from == to ? "" : fmt::format(", resharding {} -> {}", from, to),
                        format_bytes(checkpoint.bytes_read())));
  if (const std::string changes = changed_settings(manifest, config_); !changes.empty())
    log_.info(fmt::format("       changed since it was saved: {}", changes));
  if (other_validation) log_.info("       validation has other data now: its best loss so far does not count");
  if (modelled_) return;
  if (const std::string warning = unknown_data_warning(manifest, config_); !warning.empty()) log_.warn(warning);
}

// After `step`.
TrainingState Trainer::state(int64_t step) const {
  return {.step = step,
          .sample = next_sample_,
          .tokens = tokens_,
          .adam_step = modelled_ ? step : executor_->scalar<int32_t>(step_state::kAdamStep),
          .loss_scale = scaler_.scale(),
          .clean_steps = scaler_.clean_steps(),
          .seed = config_.seed,
          .best_valid_loss = best_valid_loss_,
          .tokenizer_hash = tokenizer_ ? fmt::format("{:016x}", tokenizer_->hash()) : kRehearsed,
          .data = modelled_ ? kRehearsed : train_identity_,
          .valid_data = valid_identity_};
}

HostStep Trainer::load_samples(const BatchReader* reader, int64_t first_sample) {
  if (reader == nullptr) return {.loss_scale = static_cast<float>(scaler_.scale())};
  const int64_t rows = config_.global_batch / config_.mesh.dp;
  ids_.resize(static_cast<size_t>(rows * config_.seq));
  labels_.resize(ids_.size());
  reader->fill(first_sample + coordinate_.dp * rows, rows, ids_.data(), labels_.data());
  return {.ids = ids_, .labels = labels_, .loss_scale = static_cast<float>(scaler_.scale())};
}

TrainingEnd Trainer::train(const RunFolder& folder, const MetricsHeader& header, StopSignal* stop,
                           StatusWriter* status) {
  executor_->report_to(status);
  RunOutputs outputs(config_, folder, log_, first_step_);
  open(outputs, folder, header);
  saver_ = std::make_unique<Saver>(config_, *executor_, folder, world(), log_);
  if (modelled_) saver_->rehearse({modelled_->host_copy_bytes_per_s, modelled_->saved_bytes_per_s});
  const int64_t start_ns = step_begin_ns_ = now_ns();
  TrainingEnd end;
  for (int64_t step = first_step_; step <= config_.steps; ++step) {
    if (status) status->set_step(step), status->set_action("data");
    const bool last = step == config_.steps;
    bool stop_now = rank() == 0 && !last && wants_to_stop(stop, start_ns);
    StepMetrics metrics = run_step(step - 1, stop_now, status);
    if (header.peak) metrics.mfu = metrics.tflops * 1e12 / header.peak->flops_per_s;
    outputs.step(metrics);
    if (outputs.wants_trace(step)) outputs.trace(step_trace(step));
    if (step == first_step_) report_outside_memory();
    report_graphs();
    if (has_validation() && (last || step % config_.valid_interval == 0)) validate_after(step, outputs);
    if (saver_->wanted() && (saver_->due(step) || last || stop_now)) save(step);
    if (!stop_now) continue;
    end.stop_reason = stop != nullptr && !stop->reason().empty() ? stop->reason() : "time limit";
    end.saved = saver_->wanted();
    break;
  }
  finish(outputs, end);
  return end;
}

void Trainer::open(RunOutputs& outputs, const RunFolder& folder, const MetricsHeader& header) {
  if (rank() == 0 && config_.trace.any() && first_step_ > 1) folder.remove_traces(first_step_);  // of other ranks
  struct Origin {
    int64_t own_ns = now_ns(), unix_ns = own_ns + wall_clock_base_ns();
  };
  const Origin origin = gather_all(world(), Origin())[0];  // rank 0's
  trace_origin_ns_ = origin.own_ns;
  run_agreed(world(), [&] {
    if (rank() == 0) outputs.open_metrics(header);
    outputs.open_trace({.mesh = config_.mesh,
                        .rank = rank(),
                        .backend = modelled_                       ? "rehearsal"
                                   : lanes_ && lanes_->on_device() ? "nccl"
                                   : config_.local_ranks > 1       ? "local"
                                                                   : "mpi",
                        .modelled = modelled_time(config_),
                        .host = host_name(),
                        .device = backend_->describe(),
                        .clock = lanes_ ? lanes_->clock() : ClockOffset{},
                        .origin_unix_ns = origin.unix_ns,
                        .nodes = node_labels(stage().graph)});
  });
}

// Rank 0's wish.
bool Trainer::wants_to_stop(StopSignal* stop, int64_t start_ns) const {
  return (config_.time_limit_s && seconds_since(start_ns) >= *config_.time_limit_s) ||
         (stop != nullptr && stop->stop_requested());
}

void Trainer::validate_after(int64_t step, RunOutputs& outputs) {
  const double loss = validate();
  if (!modelled_) best_valid_loss_ = std::min(loss, best_valid_loss_.value_or(loss));
  outputs.validation(step, loss, seconds_since(step_begin_ns_));
  step_begin_ns_ = now_ns();
}

void Trainer::finish(RunOutputs& outputs, TrainingEnd& end) {
  saver_->finish();
  end.save_failed = saver_->failed();
  end.saved = end.saved && !saver_->failed();
  outputs.finish();
  if (trace_.dropped() > 0)
    log_.warn(fmt::format("{} trace events did not fit the ring: the times of metrics.jsonl miss them",
                          trace_.dropped()));
  for (const int failed : gather_all(world(), outputs.failed() ? 1 : 0)) end.output_failed |= failed != 0;
}

// The plan's arena as each action began, and the process at the end of the step that has just run.
std::vector<MemorySample> Trainer::memory_samples(int64_t step) const {
  const std::vector<int64_t> in_use = arena_in_use(stage());
  std::vector<int64_t> begins(in_use.size(), INT64_MAX);
  for (const TraceEvent& event : trace_.step(static_cast<int>(step))) {
    if (event.lane != Lane::kCompute || event.action < 0) continue;
    int64_t& begin = begins[static_cast<size_t>(event.action)];
    begin = std::min(begin, event.t0_ns);
  }
  std::vector<MemorySample> samples;
  for (size_t action = 0; action < begins.size(); ++action)
    if (begins[action] < INT64_MAX) samples.push_back({begins[action], in_use[action], MemorySample::Kind::kArena});
  samples.push_back({last_step_.end_ns, resident_bytes(), MemorySample::Kind::kResident});
  return samples;
}

// The step that has just run, in the trace's time.
StepTrace Trainer::step_trace(int64_t step) const {
  StepTrace trace{.step = static_cast<int32_t>(step),
                  .begin_ns = last_step_.begin_ns,
                  .end_ns = last_step_.end_ns,
                  .clock = lanes_ ? lanes_->clock() : ClockOffset{},
                  .events = trace_.step(static_cast<int>(step)),
                  .memory = memory_samples(step)};
  shift(trace, trace.clock.offset_ns - trace_origin_ns_);
  return trace;
}

void Trainer::save(int64_t step) {
  const int64_t begin_ns = now_ns();
  saver_->save(state(step));
  trace_.record({.t0_ns = begin_ns,
                 .t1_ns = now_ns(),
                 .step = static_cast<int32_t>(step + 1),
                 .lane = Lane::kHost,
                 .kind = EventKind::kCheckpoint});
}

// One optimizer step. Its time begins where the last one ended, so that what the host does in between (metrics,
// trace, terminal) is part of it; validation is not.
StepMetrics Trainer::run_step(int64_t index, bool& stop, StatusWriter* status) {
  const int step = static_cast<int>(index + 1);
  const int64_t begin_ns = step_begin_ns_, start_ns = now_ns();
  HostStep host = load_samples(train_.get(), next_sample_);
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
  if (status) status->set_action("metrics");
  next_sample_ += config_.global_batch;
  tokens_ += config_.tokens_per_step();
  const int64_t end_ns = step_begin_ns_ = now_ns();
  last_step_ = {begin_ns, end_ns};
  const double tokens = static_cast<double>(config_.tokens_per_step());
  StepMetrics metrics{.step = step,
                      .loss = result.loss,
                      .grad_norm = skipped || modelled_ ? std::nullopt : std::optional(result.grad_norm),
                      .lr = static_cast<double>(host.lr),
                      .tokens = tokens_,
                      .mfu = std::nullopt,
                      .memory_peak_bytes = memory_at(step),
                      .loss_scale = scale,
                      .skipped = skipped,
                      .time = account(trace_.step(step), begin_ns, end_ns),
                      .time_unix_s = wall_clock_s()};
  exchange(metrics, stop);
  const double flops = model_flops_per_token(config_.model, config_.seq) * tokens / config_.mesh.num_ranks();
  metrics.tokens_per_s = tokens / metrics.time.step_s;
  metrics.tflops = flops / metrics.time.step_s * 1e-12;
  return metrics;
}

// Times become the mean over ranks, memory the most of any, and clocks are aligned anew. The wait for the slowest is
// part of the next step.
void Trainer::exchange(StepMetrics& metrics, bool& stop) {
  if (world() == nullptr) return;
  struct Report {
    StepBreakdown time;
    int64_t memory_peak_bytes;
    bool stop;
  };
  const auto reports = gather_all(world(), Report{metrics.time, metrics.memory_peak_bytes, stop});
  const double share = 1.0 / static_cast<double>(reports.size());
  StepBreakdown mean;
  for (const Report& report : reports) {
    for (size_t k = 0; k < mean.seconds.size(); ++k) mean.seconds[k] += report.time.seconds[k] * share;
    for (size_t a = 0; a < mean.hidden_comm_s.size(); ++a)
      mean.hidden_comm_s[a] += report.time.hidden_comm_s[a] * share;
    metrics.memory_peak_bytes = std::max(metrics.memory_peak_bytes, report.memory_peak_bytes);
    stop |= report.stop;
  }
  for (const double seconds : mean.seconds) mean.step_s += seconds;
  metrics.time = mean;
  lanes_->realign_clocks();
  trace_.record({.t0_ns = step_begin_ns_,
                 .t1_ns = now_ns(),
                 .step = static_cast<int32_t>(metrics.step + 1),
                 .lane = Lane::kHost,
                 .kind = EventKind::kWait});
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
  struct Found {
    int64_t time_ns = INT64_MAX;
    int rank = 0;
    char tensor[240] = {};
  };
  Found own{.rank = rank()};
  if (const auto culprit = executor_->find_non_finite(host, step)) {
    own.time_ns = culprit->time_ns + (lanes_ ? lanes_->clock().offset_ns : 0);
    culprit->tensor.copy(own.tensor, sizeof own.tensor - 1);
  }
  Found first;
  for (const Found& found : gather_all(world(), own))
    if (found.time_ns < first.time_ns) first = found;
  throw NonFiniteError(fmt::format(
      "[training] step {} is not finite (loss {}, gradient norm {}) and was not applied.\n  first "
      "non-finite tensor: {}\n"
      "Lower --lr, check the data, or pass --on-non-finite skip.",
      step, result.loss, result.grad_norm,
      first.time_ns == INT64_MAX ? "none when the step ran again (a sum over ranks, or a fault of the machine?)"
      : config_.mesh.num_ranks() == 1 ? std::string(first.tensor)
                                      : fmt::format("rank {}, {}", first.rank, first.tensor)));
}

double Trainer::validate() {
  TRINE_CHECK(has_validation(), "no validation data");
  const int64_t whole = valid_ ? valid_->sampler().samples_per_epoch() / config_.global_batch : INT64_MAX;
  const int64_t batches = std::clamp<int64_t>(config_.valid_batches, 1, std::max<int64_t>(1, whole));
  double loss = 0, tokens = 0;
  for (int64_t i = 0; i < batches; ++i) {
    const HostStep host = load_samples(valid_.get(), i * config_.global_batch);
    const StepResult result = executor_->evaluate(host, 0);
    loss += result.loss * result.valid_tokens;
    tokens += result.valid_tokens;
  }
  return loss / tokens;
}

// Asking a device takes a while: it is asked for the steps that a progress line shows.
int64_t Trainer::memory_at(int step) {
  const bool shown =
      step == first_step_ || step == config_.steps || step % std::max<int64_t>(config_.log_interval, 1) == 0;
  if (shown || memory_in_use_ == 0 || config_.device == DeviceKind::kCpu) memory_in_use_ = memory_in_use(*backend_);
  return memory_in_use_;
}

void Trainer::report_graphs() {
  const KernelGraphs::News news = executor_->graphs().take_news();
  if (!news.info.empty()) {
    const int64_t before = outside_.total_bytes();
    outside_.note(*backend_, "graphs");
    log_.info(fmt::format("{}; they take {} of the GPU's memory", news.info,
                          format_bytes(std::max<int64_t>(outside_.total_bytes() - before, 0))));
  }
  if (!news.warning.empty()) log_.warn(news.warning);
}

// Once everything ran: what no plan can know.
void Trainer::report_outside_memory() {
  if (modelled_) return;
  const std::span<const std::byte> arena = executor_->arena();
  if (const auto room = backend_->room()) {
    outside_.note(*backend_, "first step");
    log_.info(fmt::format(
        "memory {} of the GPU's {} in use: {} by this rank's plan, {} ({} were estimated)",
        format_bytes(room->total_bytes - room->free_bytes), format_bytes(room->total_bytes),
        format_bytes(static_cast<int64_t>(arena.size())), outside_.text(),
        format_bytes(outside_plan_estimate(lanes_ && lanes_->on_device() ? communicators_of(config_, coordinate_)
                                                                         : DeviceCommunicators{}))));
    return;
  }
  const int64_t in_arena = resident_bytes_in(arena.data(), arena.size());
  log_.info(fmt::format("memory {} resident: {} of the plan's {}, {} outside the plan",
                        format_bytes(resident_bytes()), format_bytes(in_arena),
                        format_bytes(static_cast<int64_t>(arena.size())),
                        format_bytes(resident_bytes() - in_arena)));
}

}  // namespace trine
