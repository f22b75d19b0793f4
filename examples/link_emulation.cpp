#include "examples/link_emulation.h"

#include <algorithm>
#include <charconv>

#include "analysis/link_emulation.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/shape.h"
#include "runtime/job/agreement.h"
#include "runtime/measure/doctor.h"
#include "runtime/measure/op_times.h"
#include "runtime/training/job_peak.h"

namespace trine {
namespace {

constexpr const char* kMeasured = "measured.json";
constexpr double kMeasureS = 4;

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

Dilation own_dilation(const Plan& plan, const Profile& cluster, int ranks_on_host, int cores) {
  const Config& config = plan.config;
  if (config.dilation) return {*config.dilation, "--dilation"};
  if (is_there(kMeasured)) {
    const Profile measured = load_profile(kMeasured);
    if (measured_on(measured, cpu_name()))
      return {dilation_of(plan, measured.cpu, cluster, ranks_on_host, cores), kMeasured};
  }
  const auto backend = make_cpu_backend(config.threads);
  const StepTimes times = measure_steps(part_of(config), *backend, kMeasureS);
  CpuProfile cpu;
  cpu.cores = cores;
  cpu.stream_gb_per_s = 1, cpu.stream_all_gb_per_s = cores;  // not measured: cores do not slow each other down
  cpu.ops = op_costs(times, times, config.dtype, config.threads, 1, 1);
  return {dilation_of(plan, cpu, cluster, ranks_on_host, cores), "measured just now"};
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
