#include "examples/link_emulation.h"

#include <algorithm>
#include <charconv>

#include "analysis/link_emulation.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/shape.h"
#include "runtime/device/devices.h"
#include "runtime/device/process_memory.h"
#include "runtime/job/agreement.h"
#include "runtime/measure/doctor.h"
#include "runtime/measure/op_times.h"
#include "runtime/training/job_peak.h"

namespace trine {
namespace {

constexpr const char* kMeasured = "measured.json";
constexpr double kMeasureS = 4;
// Of what is not measured in that time: a core's GB/s, and until a thread that sleeps runs.
constexpr double kGuessedStream = 20, kGuessedWakeUs = 20;

// Two layers of a rank's part of the model, as a model of its own on one rank.
Config part_of(const Config& config) {
  Config part = config;
  const int64_t tp = config.mesh.tp;
  part.model.layers = std::min<int64_t>(2, config.model.layers);
  part.model.heads = div_up(config.model.heads, tp);
  part.model.kv_heads = div_up(config.model.kv_heads, tp);
  part.model.ffn = div_up(config.model.ffn, tp), part.model.vocab = div_up(config.model.vocab, tp);
  part.mesh = {}, part.tp = part.pp = part.vpp = part.local_ranks = 1;
  part.schedule = ScheduleKind::k1F1B, part.sequence_parallel = false, part.zero = 0;
  part.global_batch = config.micro_batch;
  part.emulate_links.clear();
  return part;
}

// Measured.json, if it is of this machine.
std::optional<Profile> measured_cores() {
  if (!is_there(kMeasured)) return std::nullopt;
  Profile measured = load_profile(kMeasured);
  return measured_on(measured, cpu_name()) ? std::optional(std::move(measured)) : std::nullopt;
}

Profile measure_cores(const Config& config, int cores) {
  const auto backend = make_cpu_backend(config.threads);
  const StepTimes times = measure_steps(part_of(config), *backend, kMeasureS);
  Profile profile;
  profile.name = "these cores, measured just now";
  profile.device.name = cpu_name();
  profile.device.memory_gib = static_cast<double>(available_bytes()) * 0x1p-30;
  profile.host.devices = cores;
  CpuProfile& cpu = profile.cpu;
  cpu.cores = cores;
  cpu.stream_gb_per_s = kGuessedStream,
  cpu.stream_all_gb_per_s = kGuessedStream * cores;  // none slows another down
  cpu.wake_us = kGuessedWakeUs;
  cpu.ops = op_costs(times, times, config.dtype, config.threads, 1, 1);
  for (const CpuOpCost& cost : cpu.ops)
    for (const CpuOpCost::Shape& shape : cost.shapes) {
      const double tflops = shape.flops / (shape.us * 1e6) / config.threads;
      for (double* peak : {&profile.device.bf16_tflops, &profile.device.fp16_tflops, &profile.device.f32_tflops})
        *peak = std::max(*peak, tflops);
    }
  profile.sources["cpu.wake_us"] = {"a guess", Certainty::kGiven};  // so the prediction says that it is unsure
  return profile;
}

Dilation own_dilation(const Plan& plan, const Profile& cluster, int ranks_on_host, int cores) {
  if (plan.config.dilation) return {*plan.config.dilation, "--dilation"};
  const std::optional<Profile> measured = measured_cores();
  const Profile own = measured ? *measured : measure_cores(plan.config, cores);
  return {dilation_of(plan, own.cpu, cluster, ranks_on_host, cores), measured ? kMeasured : "measured just now"};
}

}  // namespace

Profile emulated_cluster(const Config& config) {
  Profile profile = load_profile(config.emulate_links);
  if (profile.is_cpu())
    throw ConfigError(fmt::format(
        "[flags] --emulate-links {} is a cluster of CPUs; it needs one of GPUs (plan_llama clusters lists them).",
        config.emulate_links));
  return profile;
}

Profile emulating_cores(const Plan& plan, int cores) {
  const Config& config = plan.config;
  if (!config.cluster.empty()) return load_profile(config.cluster, config.cluster_changes);
  std::optional<Profile> own = measured_cores();
  if (!own) own = measure_cores(config, cores);
  set_values(*own, config.cluster_changes);
  return *own;
}

Dilation find_dilation(const Plan& plan, const Profile& cluster, const Connection& connection, int ranks_on_host,
                       int cores) {
  Dilation found;
  run_on_first(connection.all, [&] { found = own_dilation(plan, cluster, ranks_on_host, cores); });
  const std::string text = told_by_first(connection.all, fmt::format("{:.6g} {}", found.factor, found.source));
  const size_t space = text.find(' ');
  std::from_chars(text.data(), text.data() + space, found.factor);
  found.source = text.substr(space + 1);
  return found;
}

}  // namespace trine
