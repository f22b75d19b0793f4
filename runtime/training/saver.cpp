#include "runtime/training/saver.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/json.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/hash.h"
#include "checkpoint/save_owner.h"
#include "plan/config/flag_table.h"
#include "plan/config/flags.h"
#include "runtime/job/agreement.h"
#include "runtime/state/checkpointing.h"

namespace trine {
namespace {

// What rank 0 waits at least for a rank that writes more slowly than itself.
constexpr std::chrono::milliseconds kShortestTimeout = std::chrono::minutes(10);
constexpr std::chrono::milliseconds kFirstPause{1}, kLongestPause{100};

// The same on all ranks, another one for every save.
uint64_t make_token(Communicator* world) {
  std::random_device random;
  const uint64_t own = (uint64_t{random()} << 32) | random();
  return gather_all(world, own)[0];
}

// Rank 0's list on all ranks: what one of them can not read may not make them go different ways.
std::vector<Candidate> agreed_candidates(const CheckpointFolder& folder, Communicator* world) {
  if (world == nullptr) return folder.candidates();
  std::string text;
  run_on_first(world, [&] {
    auto list = nlohmann::json::array();
    for (const Candidate& c : folder.candidates())
      list.push_back({c.path.filename().string(), c.step, c.sequence, c.problem, c.unreadable});
    text = list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  std::vector<Candidate> candidates;
  for (const auto& item : parse_json(told_by_first(world, text)))
    candidates.push_back({folder.path() / item[0].get<std::string>(), item[1], item[2], item[3], item[4]});
  return candidates;
}

// A device's memory is read by its backend, the host's by what AsyncSaver has for it.
AsyncSaver::Copy copy_from(const Backend& backend) {
  if (!backend.room()) return {};
  return [&backend](void* to, const void* from, size_t size_bytes) {
    backend.read(static_cast<const std::byte*>(from), {static_cast<std::byte*>(to), size_bytes});
  };
}

bool goes_on(const Config& config) { return !config.resume_saves.empty(); }

// The run is asked to go on from that very folder, by its name: then it is meant.
bool takes_over(const Config& config, const std::filesystem::path& saves) {
  return goes_on(config) && config.resume != "latest" && config.resume != "auto" &&
         same_place(config.resume_saves, saves);
}

int64_t total_bytes(std::span<const Slice> slices) {
  int64_t bytes = 0;
  for (const Slice& slice : slices) bytes += slice.size_bytes();
  return bytes;
}

}  // namespace

std::filesystem::path saves_of(const Config& config, const std::filesystem::path& run) {
  return config.save.empty() ? RunFolder(run).checkpoints() : std::filesystem::path(config.save);
}

Config kept_config(Config config, const RunFolder& run) {
  const std::filesystem::path folder = run.path().lexically_normal();
  config.out = run.path();
  config.resume.reset();
  const bool found_from_out = folder.is_relative() && *folder.begin() != "..";
  if (!config.save.empty() && !found_from_out)
    config.save = std::filesystem::absolute(config.save).lexically_normal();
  return config;
}

void check_saves(const Config& config) {
  if (!config.saves() || config.save.empty()) return;  // its own folder is checked with it
  if (!goes_on(config)) check_unused(config.save);
  if (!takes_over(config, config.save)) check_owner(config.save, config.out);
}

void claim_saves(const Config& config, const RunFolder& run) {
  if (!config.saves()) return;
  const std::filesystem::path saves = saves_of(config, run.path());
  if (!goes_on(config)) check_unused(saves);
  claim(saves, run.path(), takes_over(config, saves));
}

Saver::Saver(const Config& config, const Executor& executor, const RunFolder& run, Communicator* world, Log& log)
    : config_(config),
      executor_(executor),
      folder_(saves_of(config, run.path())),
      saved_config_(to_json(kept_config(config, run))),
      rank_(config.mesh.rank(executor.coordinate())),
      world_(world),
      log_(log),
      checked_(std::make_shared<CheckedCheckpoints>()),
      saver_(INT64_MAX, copy_from(executor.backend())) {
  if (!wanted()) return;
  if (!config.rehearsal) saver_.reserve(total_bytes(owned_slices(executor)));
  if (rank_ != 0) return;
  try {
    last_sequence_ = CheckpointFolder(folder_).next_sequence() - 1;
  } catch (const DataError&) {  // then each save asks anew, and fails if it can not know
  }
}

Saver::~Saver() {
  if (give_up_) *give_up_ = true;
}

void Saver::save(const TrainingState& state) {
  finish();
  std::vector<Slice> slices = owned_slices(executor_);
  int64_t bytes = 0, takes_ns = 0;
  if (modelled_) {
    const auto size = static_cast<double>(total_bytes(slices));
    sleep_until(now_ns() + std::llround(size / modelled_->copied_bytes_per_s * 1e9));
    if (modelled_->saved_bytes_per_s > 0) takes_ns = std::llround(size / modelled_->saved_bytes_per_s * 1e9);
    slices.clear();
  }
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
  give_up_ = std::make_shared<std::atomic<bool>>(false);
  saver_.start({.folder = folder_,
                .token = fmt::format("{:016x}", make_token(world_)),
                .rank = rank_,
                .num_ranks = config_.mesh.num_ranks(),
                .keep = config_.keep,
                .takes_ns = takes_ns,
                .timeout = std::max(kShortestTimeout, config_.timeout()),
                .give_up = give_up_,
                .last_sequence = last_sequence_,
                .checked = checked_,
                .state = state,
                .layout = layout_of(config_),
                .config = saved_config_},
               std::move(slices));
}

void Saver::finish() { report(wait()); }

// Ranks ask one another again and again instead of waiting for the slowest disk: a wait that is longer than
// --timeout counts as a hang.
std::optional<SaveOutcome> Saver::wait() {
  if (!saver_.busy()) return std::nullopt;  // as on all ranks
  std::optional<SaveOutcome> outcome;
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    if (!outcome) outcome = saver_.poll();
    enum { kRuns, kDone, kFailed };
    const auto ranks = gather_all(world_, !outcome ? kRuns : outcome->ok ? kDone : kFailed);
    if (std::ranges::count(ranks, kRuns) == 0) return outcome;
    if (std::ranges::count(ranks, kFailed) > 0) *give_up_ = true;
    std::this_thread::sleep_for(pause);
  }
}

// What went wrong on other ranks, unless the outcome has it already: a full disk may have swallowed their words.
void Saver::add_problems_of_others(SaveOutcome& outcome) const {
  struct Problem {
    char text[512] = {};
    bool disk_full = false;
  };
  Problem own{.disk_full = outcome.disk_full};
  if (!outcome.ok) outcome.problem.copy(own.text, sizeof own.text - 1);
  const auto all = gather_all(world_, own);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    outcome.disk_full |= all[rank].disk_full;
    if (all[rank].text[0] != '\0' && outcome.problem.find(all[rank].text) == std::string::npos)
      outcome.problem += fmt::format("\nrank {}: {}", rank, all[rank].text);
  }
}

void Saver::report(std::optional<SaveOutcome> outcome) {
  if (!outcome) return;
  failed_ = gather_all(world_, outcome->ok ? 0 : 1)[0] != 0;  // rank 0 commits
  if (failed_) {
    last_step_ = 0;
    add_problems_of_others(*outcome);
  }
  if (rank_ != 0) return;
  if (outcome->ok) last_sequence_ = outcome->sequence;
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
      bool of_the_system = false;
    };
    Problem own;
    try {
      Checkpoint(path).check_files(rank, world ? world->size() : 1);
    } catch (const Error& error) {
      std::string(error.what()).copy(own.text, sizeof own.text - 1);
      own.of_the_system = dynamic_cast<const IoError*>(&error) != nullptr;
    }
    const auto all = gather_all(world, own);
    for (const Problem& problem : all)
      if (problem.of_the_system) throw IoError(problem.text);
    for (const Problem& problem : all)
      if (problem.text[0] != '\0') return std::string(problem.text);
    return std::string();
  };
  std::filesystem::path path = wanted;
  if (wanted.empty()) {
    const CheckpointFolder all(folder);
    const auto candidates = agreed_candidates(all, world);
    const Chosen chosen = alike([&] { return all.choose(candidates, check); });
    for (const std::string& line : chosen.passed_over) log.warn("passed over checkpoint " + line);
    path = chosen.path;
  } else if (const std::string problem = alike([&] { return check(wanted); }); !problem.empty()) {
    throw AgreedError(ExitCode::kNoCheckpoint,
                      fmt::format("[checkpoint] {} is not whole: {}", wanted.string(), problem));
  }
  std::optional<Checkpoint> checkpoint;
  run_agreed(world, [&] {
    checkpoint.emplace(path);
    checkpoint->trust_files();
  });
  check_same_on_all(world, {{"the manifest of " + path.string() + " (a hash)",
                             hex(xxh3(write_manifest(checkpoint->manifest())))}});
  return std::move(*checkpoint);
}

SavedLayout layout_of(const Config& c) {
  return {.tp = c.mesh.tp, .pp = c.mesh.pp, .dp = c.mesh.dp, .vpp = c.vpp, .zero = c.zero};
}

std::string changed_settings(const Manifest& manifest, const Config& config) {
  std::string changes;
  const auto now = nlohmann::json(to_json(config));
  for (const Flag& flag : flag_table()) {
    if (flag.group != "Batch" && flag.group != "Training" && flag.group != "Precision") continue;
    const auto saved = manifest.config.find(std::string(flag.name)), own = now.find(std::string(flag.name));
    if (saved == manifest.config.end() || own == now.end() || *saved == *own) continue;
    changes += fmt::format("{}{} {} -> {}", changes.empty() ? "" : ", ", flag.name, saved->dump(), own->dump());
  }
  return changes;
}

namespace {

std::string value_of(const nlohmann::json& config, const char* flag) {
  const auto it = config.find(flag);
  return it == config.end() ? "nothing" : it->dump();
}

}  // namespace

void check_same_training(const Manifest& manifest, const Config& config, const Tokenizer& tokenizer,
                         const std::string& data) {
  Problems problems;
  const auto now = nlohmann::json(to_json(config));
  // The model, and which samples follow one another.
  std::vector<const char*> flags = {"layers",  "hidden",     "heads",    "kv-heads",     "head-dim",       "ffn",
                                    "vocab",   "rope-theta", "norm-eps", "rope-scaling", "tie-embeddings", "seq",
                                    "shuffle", "seed"};
  const std::string& saved_data = manifest.state.data;
  if (saved_data.empty()) flags.push_back("valid-fraction");
  for (const char* flag : flags) {
    const std::string saved = value_of(manifest.config, flag), own = value_of(now, flag);
    if (saved != own)
      problems.add("--resume",
                   "--{} was {} when it was saved and is {} now. "
                   "Leave it as it was, or start anew with --load-weights.",
                   flag, saved, own);
  }
  if (!saved_data.empty() && saved_data != data)
    problems.add("--resume",
                 "the training data was {} when it was saved and is {} now. Give the same tokens, from whatever "
                 "path, and the same --valid-fraction, or start anew with --load-weights.",
                 saved_data, data);
  if (const std::string hash = fmt::format("{:016x}", tokenizer.hash()); manifest.state.tokenizer_hash != hash)
    problems.add("--resume", "the tokenizer {} (hash {}) is not the one that was saved (hash {}).",
                 tokenizer.name(), hash, manifest.state.tokenizer_hash);
  problems.throw_if_any();
}

std::string unknown_data_warning(const Manifest& manifest, const Config& config) {
  const std::string saved = value_of(manifest.config, "data");
  const std::string own = value_of(nlohmann::json(to_json(config)), "data");
  if (!manifest.state.data.empty() || saved == own) return {};
  return fmt::format(
      "this checkpoint does not say which tokens it was trained on: --data was {} and is {}. The run "
      "goes on; see to it that they are the same tokens.",
      saved, own);
}

}  // namespace trine
