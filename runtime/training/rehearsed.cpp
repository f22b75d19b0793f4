#include "runtime/training/rehearsed.h"

#include <limits>

#include "base/error.h"
#include "models/llama.h"
#include "plan/config/flags.h"

namespace trine {

ModelledTime modelled_time(const Config& config) {
  if (config.rehearsal) return {.cluster = config.cluster, .links_only = false, .times = config.speed_up};
  if (!config.emulate_links.empty())
    return {.cluster = config.emulate_links, .links_only = true, .times = config.dilation.value()};
  return {};
}

void write_rehearsed_scalars(Executor& executor, const Config& config) {
  const auto write = [&]<typename T>(std::string_view state, T value) {
    executor.backend().write(std::as_bytes(std::span(&value, 1)), executor.view(state).data);
  };
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  write(step_state::kValidTokens, int64_t{config.tokens_per_step()});
  write(step_state::kApply, int32_t{1});
  write(step_state::kLossSum, kNone);
  write(step_state::kGradNorm, kNone);
}

void check_same_rehearsal(const Manifest& manifest, const Config& config) {
  if (manifest.state.data != kRehearsed)
    throw ConfigError(
        "[--resume] the checkpoint is a training's, and --device rehearsal computes nothing that could go on from it. "
        "Leave out --resume, or --device.");
  Problems problems;
  const auto now = nlohmann::json(to_json(config));
  for (const char* flag :
       {"layers", "hidden", "heads", "kv-heads", "head-dim", "ffn", "vocab", "tie-embeddings", "seq"})
    if (const auto saved = manifest.config.find(flag); saved != manifest.config.end() && *saved != now[flag])
      problems.add("--resume", "--{} was {} when it was saved and is {} now. Leave it as it was.", flag,
                   saved->dump(), now[flag].dump());
  problems.throw_if_any();
}

}  // namespace trine
