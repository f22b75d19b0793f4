#include "runtime/saver.h"

#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "plan/flags.h"
#include "runtime/agreement.h"
#include "runtime/checkpointing.h"

namespace trine {
namespace {

constexpr std::chrono::minutes kTimeout{10};  // of the slowest rank behind rank 0

SavedLayout layout_of(const Config& c) {
  return {.tp = c.mesh.tp, .pp = c.mesh.pp, .dp = c.mesh.dp, .vpp = c.vpp, .zero = c.zero};
}

// The same on all ranks, another one for every save.
uint64_t make_token(Communicator* world) {
  std::random_device random;
  const uint64_t own = (uint64_t{random()} << 32) | random();
  return gather_all(world, own)[0];
}

int64_t total_bytes(std::span<const Slice> slices) {
  int64_t bytes = 0;
  for (const Slice& slice : slices) bytes += slice.size_bytes();
  return bytes;
}

}  // namespace

Saver::Saver(const Config& config, std::filesystem::path folder, int rank, Communicator* world, Log& log)
    : config_(config), folder_(std::move(folder)), rank_(rank), world_(world), log_(log) {}

void Saver::save(const Executor& executor, const TrainingState& state) {
  report(saver_.finish());
  std::vector<Slice> slices = owned_slices(executor);
  int64_t bytes = 0;
  for (const int64_t of_rank : gather_all(world_, total_bytes(slices))) bytes += of_rank;
  const auto problem = rank_ == 0 ? free_space_problem(folder_, bytes) : std::nullopt;
  if (gather_all(world_, problem ? 1 : 0)[0] != 0) {
    failed_ = true;
    if (problem)
      log_.warn(
          fmt::format("step {} is not saved: {} Training goes on; older checkpoints stay.", state.step, *problem));
    return;
  }
  last_step_ = state.step;
  saver_.start({.folder = folder_,
                .token = fmt::format("{:016x}", make_token(world_)),
                .rank = rank_,
                .num_ranks = config_.mesh.num_ranks(),
                .keep = config_.keep,
                .timeout = kTimeout,
                .state = state,
                .layout = layout_of(config_),
                .config = to_json(config_)},
               std::move(slices));
}

void Saver::finish() { report(saver_.finish()); }

void Saver::report(const std::optional<SaveOutcome>& outcome) {
  if (!outcome) return;
  failed_ = gather_all(world_, outcome->ok ? 0 : 1)[0] != 0;  // rank 0 commits
  if (failed_) last_step_ = 0;
  if (rank_ != 0) return;
  for (const std::string& warning : outcome->warnings) log_.warn(warning);
  if (!outcome->ok)
    log_.warn(fmt::format("a checkpoint could not be saved: {}{}\nTraining goes on; older checkpoints stay.",
                          outcome->problem, outcome->disk_full ? "\nMake room: the next save tries again." : ""));
  else
    log_.info(fmt::format("saved  {} in {:.2f} s behind training ({} of rank 0)", outcome->path.string(),
                          outcome->seconds, format_bytes(outcome->bytes)));
}

Checkpoint open_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& wanted, int rank,
                           Communicator* world, Log& log) {
  // The first rank's problem is everybody's; files are shared out, so that each is read once.
  const auto check = [&](const std::filesystem::path& path) {
    struct Problem {
      char text[1024] = {};
    };
    Problem own;
    try {
      Checkpoint(path).check_files(rank, world ? world->size() : 1);
    } catch (const Error& error) {
      std::string(error.what()).copy(own.text, sizeof own.text - 1);
    }
    for (const Problem& problem : gather_all(world, own))
      if (problem.text[0] != '\0') return std::string(problem.text);
    return std::string();
  };
  std::filesystem::path path = wanted;
  if (wanted.empty()) {
    const CheckpointFolder all(folder);
    const Chosen chosen = all.choose(all.candidates(), check);
    for (const std::string& line : chosen.passed_over) log.warn("passed over checkpoint " + line);
    path = chosen.path;
  } else if (const std::string problem = check(wanted); !problem.empty()) {
    throw Error(ExitCode::kNoCheckpoint, fmt::format("[--resume] {} is not whole: {}", wanted.string(), problem));
  }
  Checkpoint checkpoint(path);
  checkpoint.trust_files();
  return checkpoint;
}

void check_same_training(const Manifest& manifest, const Config& config, const Tokenizer& tokenizer) {
  Problems problems;
  const auto now = nlohmann::json(to_json(config));
  // The model, and which samples follow one another.
  for (const char* field : {"layers", "hidden", "heads", "kv-heads", "head-dim", "ffn", "vocab", "rope-theta",
                            "norm-eps", "rope-scaling", "tie-embeddings", "seq", "data", "shuffle", "seed"}) {
    const auto saved = manifest.config.find(field), own = now.find(field);
    const auto text = [](const nlohmann::json& object, const auto& it) {
      return it == object.end() ? "nothing" : it->dump();
    };
    if (text(manifest.config, saved) != text(now, own))
      problems.add("--resume",
                   "--{} was {} when it was saved and is {} now. Leave it as it was, or start anew with "
                   "--load-weights.",
                   field, text(manifest.config, saved), text(now, own));
  }
  if (const std::string hash = fmt::format("{:016x}", tokenizer.hash()); manifest.state.tokenizer_hash != hash)
    problems.add("--resume", "the tokenizer {} (hash {}) is not the one that was saved (hash {}).",
                 tokenizer.name(), hash, manifest.state.tokenizer_hash);
  problems.throw_if_any();
}

}  // namespace trine
