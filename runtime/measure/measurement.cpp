#include "runtime/measure/measurement.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/program.h"
#include "base/text.h"
#include "plan/plan.h"
#include "runtime/device/process_memory.h"
#include "runtime/job/agreement.h"
#include "runtime/measure/op_times.h"
#include "runtime/measure/peaks.h"
#include "runtime/measure/samples.h"
#include "runtime/measure/transfer_times.h"

namespace trine {
namespace {

bool is_large(const Config& config) { return parameter_count(config.model) > 30'000'000; }

double seconds_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-9; }

constexpr double kLong_us = 1e12;

class Measuring {
 public:
  Measuring(const MeasureOptions& options, const RanksHere& here, Communicator* world)
      : options_(options),
        here_(here),
        world_(world),
        threads_(std::max(1, here.cores / std::max(1, here.ranks_on_host))),
        product_(DType::kF32, 384, threads_),
        stream_(threads_) {}

  Measurement run();

 private:
  // While the other ranks wait; while all do the same.
  template <typename F>
  void alone(F&& f) {
    barrier();
    if (is_first()) f();
    barrier();
  }
  template <typename F>
  void together(F&& f) {
    barrier();
    f();
    barrier();
  }
  void barrier() {
    if (world_) world_->barrier();
  }
  int num_hosts() const {
    return std::max(1, static_cast<int>(std::set(here_.hosts.begin(), here_.hosts.end()).size()));
  }
  bool is_first() const { return world_ == nullptr || world_->rank() == 0; }

  struct ProductTimes {
    double quiet_us = 0, mean_us = 0;
  };
  ProductTimes product_us();
  double stream_rate();
  void look_again();
  std::vector<MeasuredStep> steps_of(DType dtype, int threads) const;
  void check() const;
  void measure_ops(DType dtype, int threads, bool all_ranks);
  void measure_transfers();
  void conclude();
  Profile profile() const;

  const MeasureOptions& options_;
  const RanksHere& here_;
  Communicator* const world_;
  const int threads_;
  FixedProduct product_;
  Stream stream_;
  CpuProfile cpu_;
  std::map<DType, double> peak_flops_;  // of a core
  double slowest_us_ = 0, quickest_us_ = kLong_us;
  std::vector<double> busy_slowdowns_, stream_rates_, stream_together_rates_;  // each time
  double slowest_exchange_us_ = 0, quickest_exchange_us_ = kLong_us;
  struct OpsMeasured {
    DType dtype;
    int threads;
    StepTimes alone, together;
  };
  std::vector<OpsMeasured> ops_;
  Findings findings_;
};

Measuring::ProductTimes Measuring::product_us() {
  std::vector<double> samples;
  for (int i = 0; i < 40; ++i) {
    const int64_t begin = now_ns();
    product_.run();
    samples.push_back(seconds_since(begin) * 1e6);
  }
  return {quiet_mean(samples),
          std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size())};
}

double Measuring::stream_rate() {
  std::vector<double> samples;
  for (int i = 0; i < (options_.quick ? 8 : 16); ++i) {
    const int64_t begin = now_ns();
    stream_.run();
    samples.push_back(seconds_since(begin));
  }
  return stream_.bytes() / quiet_mean(samples);
}

// What takes milliseconds, again and again between all else: how far an exchange and a product differ says how quiet the
// machine is, and what cores share is the median of these times, as something may disturb one of them.
void Measuring::look_again() {
  double alone_us = 0, together_us = 0, rate = 0;
  alone([&] {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      FixedProduct large(dtype, 1024, threads_);
      for (int i = 0; i < 8; ++i) {
        const int64_t begin = now_ns();
        large.run();
        peak_flops_[dtype] = std::max(peak_flops_[dtype], large.flops() / seconds_since(begin) / threads_);
      }
    }
    stream_rates_.push_back(stream_rate());
    const ProductTimes now = product_us();
    alone_us = now.quiet_us;
    slowest_us_ = std::max(slowest_us_, now.mean_us), quickest_us_ = std::min(quickest_us_, now.quiet_us);
  });
  if (world_ == nullptr) return;
  together([&] { together_us = product_us().quiet_us; });
  together([&] { rate = stream_rate(); });
  const double exchange_us = fixed_exchange_us(*world_);
  slowest_exchange_us_ = std::max(slowest_exchange_us_, exchange_us);
  quickest_exchange_us_ = std::min(quickest_exchange_us_, exchange_us);
  busy_slowdowns_.push_back(std::ranges::max(gather_all(world_, together_us)) / std::max(1e-3, alone_us));
  stream_together_rates_.push_back(std::ranges::min(gather_all(world_, rate)));
}

// What is trained to see its ops: shares of models, from small microbatches to large ones.
std::vector<MeasuredStep> Measuring::steps_of(DType dtype, int threads) const {
  const bool may_split = options_.tp == 0 && here_.hosts.size() > 1;
  std::vector<MeasuredStep> steps;
  for (const std::string& model : options_.models)
    for (const int tp : std::set{1, may_split ? 2 : std::max(1, options_.tp)})
      for (const int micro_batch : {1, 2, 4, 8}) {
        const MeasuredStep step{model, tp, micro_batch, dtype, threads};
        const bool ends = micro_batch == 1 || micro_batch == 4;
        if (is_large(config_of(step)) ? micro_batch > 1 : (tp > 1 || threads != threads_) && !ends) continue;
        steps.push_back(step);
      }
  return steps;
}

// Before anything takes time.
void Measuring::check() const {
  for (const MeasuredStep& step : steps_of(DType::kBF16, threads_)) {
    const int64_t needed = build_plan(config_of(step)).stages[0].memory.total_bytes() * here_.ranks_on_host;
    if (needed > available_bytes())
      throw OutOfMemoryError(fmt::format(
          "[memory] {} ranks need {} to try layers of {}, and there are {}. Measure a smaller --model, or "
          "start fewer ranks.",
          here_.ranks_on_host, format_bytes(needed), step.model, format_bytes(available_bytes())));
  }
}

void Measuring::measure_ops(DType dtype, int threads, bool all_ranks) {
  const auto backend = make_cpu_backend(threads);
  const double budget_s = options_.quick ? 0.1 : 0.5;
  OpsMeasured& ops = ops_.emplace_back(OpsMeasured{dtype, threads, {}, {}});
  for (const MeasuredStep& step : steps_of(dtype, threads)) {
    const Config config = config_of(step);
    alone([&] { ops.alone.add(measure_steps(config, *backend, budget_s)); });
    if (all_ranks && world_ && (step.micro_batch == 4 || is_large(config)))
      together([&] { ops.together.add(measure_steps(config, *backend, budget_s)); });
  }
}

// From all that was measured, on the first rank.
void Measuring::conclude() {
  const bool several = world_ != nullptr;
  cpu_.cores = std::max(1, here_.cores);
  cpu_.hosts = num_hosts();
  cpu_.busy_slowdown = several ? std::max(1.0, median(busy_slowdowns_)) : 1;
  const double one_rate = median(stream_rates_), rate_of_all = several ? median(stream_together_rates_) : one_rate;
  cpu_.stream_gb_per_s = std::max(0.01, one_rate * 1e-9 / threads_);
  const double all = several ? rate_of_all * here_.ranks_on_host : one_rate;
  cpu_.stream_all_gb_per_s = std::max(0.01, std::min(all * 1e-9, cpu_.stream_gb_per_s * cpu_.cores));
  const double memory_slower = std::max(1.0, one_rate / rate_of_all);
  std::vector<double> rest_us;
  for (const auto& [dtype, threads, alone, together] : ops_) {
    for (CpuOpCost& cost : op_costs(alone, together, dtype, threads, memory_slower, cpu_.busy_slowdown)) {
      for (const CpuOpCost::Shape& shape : cost.shapes)
        if (cost.op.starts_with("linear"))
          peak_flops_[dtype] = std::max(peak_flops_[dtype], shape.flops / (shape.us * 1e-6) / threads);
      cpu_.ops.push_back(std::move(cost));
    }
    rest_us.insert(rest_us.end(), alone.rest_us.begin(), alone.rest_us.end());
  }
  cpu_.step_us = quiet_mean(rest_us);
}

void Measuring::measure_transfers() {
  if (world_ == nullptr) return;
  const int rounds = options_.quick ? 12 : 40;
  const LaneTimes lane = measure_lane(*world_, rounds);
  cpu_.wake_us = lane.wake_us, cpu_.post_us = lane.post_us;
  cpu_.transfers = measure_collectives(*world_, num_hosts(), lane, rounds);
  cpu_.transfers.push_back(measure_messages(*world_, 1, rounds));
}

Profile Measuring::profile() const {
  Profile profile;
  profile.name = host_name();
  profile.cpu = cpu_;
  const auto set = [&](std::string_view path, double value, std::string source, Certainty certainty) {
    for (const auto fields : {profile_fields(), cpu_fields()})
      for (const ProfileField& field : fields)
        if (field.path == path) field.of(profile) = std::clamp(value, field.min, field.max);
    profile.sources[std::string(path)] = {std::move(source), certainty};
  };
  // What nothing here uses, and no measurement says.
  for (const ProfileField& field : profile_fields()) set(field.path, 0, "of no use on CPUs", Certainty::kAssumed);
  const auto measured = [&](std::string_view path, double value) {
    set(path, value, "measure_cluster", Certainty::kMeasured);
  };
  const double bf16 = peak_flops_.at(DType::kBF16) * 1e-12, f32 = peak_flops_.at(DType::kF32) * 1e-12;
  measured("device.peak_tflops.bf16", bf16), measured("device.peak_tflops.f32", f32);
  set("device.peak_tflops.fp16", f32, "multiplied in f32", Certainty::kMeasured);
  set("device.memory_gib", static_cast<double>(available_bytes()) * 0x1p-30, "available now, of the host",
      Certainty::kMeasured);
  measured("device.memory_gb_per_s", cpu_.stream_gb_per_s);
  measured("device.link_gb_per_s", cpu_.stream_gb_per_s);
  for (const char* share : {"product", "attention", "attention_grad", "memory"})
    set(fmt::format("device.efficiency.{}", share), 1, "cpu.ops has the times", Certainty::kAssumed);
  for (const char* share : {"low_share", "efficiency", "network_efficiency"})
    set(fmt::format("collective.{}", share), 1, "cpu.transfers has the times", Certainty::kAssumed);
  set("device.multiprocessors", 1, "a core", Certainty::kAssumed);
  measured("host.devices", cpu_.cores), measured("host.devices_per_socket", cpu_.cores);
  measured("host.memory_gb_per_s", cpu_.stream_all_gb_per_s);
  set("host.peer_access", 1, "one memory", Certainty::kAssumed);
  set("network.nic_gb_per_s", 1.25, "10 Gb/s", Certainty::kAssumed);
  set("network.oversubscription", 1, "full bisection", Certainty::kAssumed);
  set("failures.device_hours", 50700, "Llama 3: 419 interruptions in 54 days of 16,384 H100", Certainty::kAssumed);
  for (const ProfileField& field : cpu_fields()) measured(field.path, field.of(profile));
  return profile;
}

Measurement Measuring::run() {
  run_agreed(world_, [&] { check(); });
  look_again();
  measure_ops(DType::kBF16, threads_, true);
  look_again();
  if (!options_.quick) measure_ops(DType::kF32, threads_, true);
  // A rank that has the host for itself.
  if (!here_.launch.launched && here_.cores > threads_) {
    measure_ops(DType::kBF16, here_.cores, false);
    if (!options_.quick) measure_ops(DType::kF32, here_.cores, false);
  }
  look_again();
  measure_transfers();
  look_again();
  if (!is_first()) return {};
  conclude();
  const auto add = [&](Findings more) { findings_.insert(findings_.end(), more.begin(), more.end()); };
  add(launch_findings(here_.launch, here_.ranks_on_host, here_.cores,
                      static_cast<int>(std::thread::hardware_concurrency()), threads_));
  add(group_findings(here_.hosts, options_.tp, options_.pp));
  add(clock_findings());
  add(pcie_findings());
  add(drift_findings(slowest_us_ / quickest_us_));
  add(exchange_findings(slowest_exchange_us_ / quickest_exchange_us_));
  Measurement measurement{profile(), {}};
  try {
    add(disk_findings(disk_bytes_per_s(options_.folder, options_.quick ? 16 : 64), options_.folder));
  } catch (const Error& error) {
    findings_.push_back(
        fmt::format("The disk could not be tried: {} Choose a folder that can be written.", error.what()));
  }
  measurement.profile.device.name = "core of " + cpu_name();
  measurement.profile.about =
      fmt::format("{} ranks of {} threads on {} cores of {} host{}, messages by {}; measured by measure_cluster",
                  std::max<size_t>(1, here_.hosts.size()), threads_, cpu_.cores, cpu_.hosts,
                  cpu_.hosts > 1 ? "s" : "", here_.launch.of_many() ? "MPI" : "threads of one process");
  measurement.findings = findings_;
  return measurement;
}

}  // namespace

Measurement measure_machine(const MeasureOptions& options, const RanksHere& here, Communicator* world) {
  return Measuring(options, here, world).run();
}

std::string measurement_text(const Measurement& m) {
  const Profile& p = m.profile;
  const CpuProfile& cpu = p.cpu;
  std::string text = fmt::format(
      "{}: {}\n  {:g} cores, {:.3f} TFLOP/s in bf16 and {:.3f} in f32 each; {:.2f} times slower when all are busy\n"
      "  memory {:.1f} GB/s for one core, {:.1f} for all\n",
      p.device.name, p.about, cpu.cores, p.device.bf16_tflops, p.device.f32_tflops, cpu.busy_slowdown,
      cpu.stream_gb_per_s, cpu.stream_all_gb_per_s);
  text += fmt::format(
      "  a lane wakes up in {:.1f} us, a message is posted in {:.1f} us, a step takes {:.0f} us beside its "
      "ops\n",
      cpu.wake_us, cpu.post_us, cpu.step_us);
  for (const CpuTransferCost& transfer : cpu.transfers) {
    text += fmt::format("  {:<20} of {} ranks:", transfer.kind, transfer.ranks);
    for (const CpuTransferCost::Point& point : transfer.points)
      text += fmt::format("  {} {:.0f} us", format_bytes(static_cast<int64_t>(point.bytes)), point.us);
    text += '\n';
  }
  text += fmt::format("  {} families of ops\n", cpu.ops.size());
  if (m.findings.empty()) return text + "nothing is wrong here\n";
  text += "findings\n";
  for (const std::string& finding : m.findings) text += fmt::format("  * {}\n", finding);
  return text;
}

}  // namespace trine
