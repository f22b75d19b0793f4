// train_llama: from the command line to a trained model. The story: flags -> Config -> Plan -> Trainer.
#include <csignal>
#include <ctime>
#include <fmt/core.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <unistd.h>

#include "base/text.h"
#include "comm/launch.h"
#include "examples/version.h"
#include "models/llama_config.h"
#include "plan/flags.h"
#include "plan/plan.h"
#include "runtime/trainer.h"

namespace trine {
namespace {

std::string time_stamp() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", std::localtime(&now));
  return text;
}

// mpirun -np 1 binds its rank to one core; a rank that is alone on its host may use all of them.
int usable_cores(const Launch& launch) {
  const int online = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  if (launch.launched && launch.ranks_on_host == 1) {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int core = 0; core < online && core < CPU_SETSIZE; ++core) CPU_SET(core, &all);
    ::sched_setaffinity(0, sizeof all, &all);  // where a container forbids it, the old set stays
  }
  cpu_set_t allowed;
  return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? std::max(1, CPU_COUNT(&allowed))
                                                               : std::max(1, online);
}

bool print_and_stop(const Config& config, const Plan& plan) {
  if (config.print_graph) std::cout << print_graph(plan);
  if (config.print_memory) std::cout << print_memory(plan);
  if (config.print_plan) std::cout << print_plan(plan);
  return config.print_graph || config.print_memory || config.print_plan;
}

void greet(const Config& config, Log& log) {
  const LlamaConfig& m = config.model;
  log.info(fmt::format("model  {}: {} parameters ({} layers, hidden {}, {} / {} heads of {}, ffn {}, vocab {}{})",
                       config.model_name, format_count(parameter_count(m)), m.layers, m.hidden, m.heads, m.kv_heads,
                       m.head_dim, m.ffn, m.vocab, m.tie_embeddings ? ", tied" : ""));
  log.info(fmt::format(
      "layout pp {} x dp {} x tp {}, {} thread{} per rank; {} steps of {} x {} tokens in {} microbatch{}, {}",
      config.mesh.pp, config.mesh.dp, config.mesh.tp, config.threads, config.threads == 1 ? "" : "s", config.steps,
      config.global_batch, config.seq, config.num_microbatches(), config.num_microbatches() == 1 ? "" : "es",
      name(config.dtype)));
}

ExitCode evaluate_only(Trainer& trainer, Log& log) {
  if (!trainer.has_validation())
    throw ConfigError(
        "[--eval-only] there is no validation data. Pass --valid-data, or --valid-fraction with --data.");
  log.info(fmt::format("validation loss {:.6f}", trainer.validate()));
  return ExitCode::kOk;
}

ExitCode run(int argc, char** argv, const Launch& launch, Log& log) {
  const LaunchInfo info{launch.num_ranks, launch.ranks_on_host, usable_cores(launch), time_stamp()};
  const CommandLine command = parse_train_flags(argc, argv, info, version_text());
  if (const auto* request = std::get_if<TextRequest>(&command)) {
    std::cout << request->text << '\n';
    return ExitCode::kOk;
  }
  const Config& config = std::get<Config>(command);
  const Plan plan = build_plan(config, &std::cout);
  if (print_and_stop(config, plan)) return ExitCode::kOk;

  log.set_quiet(config.quiet);
  greet(config, log);
  Trainer trainer(plan, log);
  trainer.prepare();
  if (config.eval_only) return evaluate_only(trainer, log);

  const RunFolder folder = RunFolder::create(config.out);
  Config resolved = config;
  resolved.out = folder.path();
  folder.write_config(to_json(resolved).dump(2) + "\n");
  log.open(folder.log());
  log.info(fmt::format("run    {}", folder.path().string()));
  StopSignal stop(launch.launched, folder.stop_file());
  const MetricsHeader header{version_number(), version_commit(), config.mesh, config.model_name,
                             parameter_count(config.model)};
  const TrainingEnd end = trainer.train(folder, header, stop);
  if (!end.stop_reason.empty())
    log.info(fmt::format("stopped after the step: {}. Nothing was saved: checkpoints are not built yet.",
                         end.stop_reason));
  if (end.output_failed) {
    log.fail("[run folder] metrics or trace are incomplete: see the warning above.");
    return ExitCode::kData;
  }
  return ExitCode::kOk;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a full disk, not a crash
  const trine::Launch launch = trine::detect_launch();
  trine::Log log(launch.rank, false);
  try {
    return static_cast<int>(trine::run(argc, argv, launch, log));
  } catch (const trine::Error& error) {
    // A configuration is wrong on all ranks alike, so one of them says it.
    if (error.code() != trine::ExitCode::kConfig || launch.rank == 0) log.fail(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    log.fail("[memory] out of host memory.");
    return static_cast<int>(trine::ExitCode::kOutOfMemory);
  } catch (const std::exception& error) {
    log.fail(error.what());
    return static_cast<int>(trine::ExitCode::kOther);
  }
}
