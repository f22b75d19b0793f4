// checkpoint_tool: looks at checkpoints, cuts them anew, and turns them into Hugging Face folders and back. Needs
// neither MPI nor a GPU.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/compare.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/reshard.h"
#include "checkpoint/saved_model.h"
#include "data/tokenizer.h"
#include "examples/flags_error.h"
#include "examples/version.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool is_checkpoint(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / kManifestFile, error) || path.filename().string().starts_with("step-");
}

// The folder of all checkpoints, of a run or as it is named.
CheckpointFolder checkpoints_in(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    throw DataError(fmt::format("[checkpoint] {} is no folder. Name a run folder, its checkpoints or one of them.",
                                path.string()));
  return CheckpointFolder(fs::is_directory(path / "checkpoints", error) ? path / "checkpoints" : path);
}

fs::path without_slash(const std::string& name) { return fs::path(name + "/").lexically_normal().parent_path(); }

// That checkpoint, or the newest good one of a folder or run.
Checkpoint open(const std::string& name) {
  const fs::path path = without_slash(name);
  if (is_checkpoint(path)) return Checkpoint(path);
  const Chosen chosen = checkpoints_in(path).newest_valid();
  for (const std::string& line : chosen.passed_over) fmt::print(stderr, "warning: passed over {}\n", line);
  return Checkpoint(chosen.path);
}

// A command's flags, in the order of its words.
struct Arguments {
  CLI::App app;
  std::vector<std::pair<const char*, const std::string*>> required;

  Arguments(const char* help, const std::string& command) : app(help, "checkpoint_tool " + command) {}
  void need(const char* name, std::string& value, const char* help) {
    app.add_option(name, value, help)->type_name("")->group("Paths");
    required.emplace_back(name, &value);
  }
  template <typename T>
  CLI::Option* flag(const char* name, T& value, const char* type, const char* help) {
    return app.add_option(name, value, help)->type_name(type)->group("Options");
  }
  void json(bool& wanted) { app.add_flag("--json", wanted, "prints JSON")->group("Options"); }
  // False: --help was printed.
  bool parse(int argc, const char* const* argv) {
    Problems problems;
    if (!parse_flags(app, argc, argv, problems)) return false;
    for (const auto& [name, value] : required)
      if (value->empty()) problems.add("flags", "{} is missing. --help shows what is needed.", name);
    problems.throw_if_any();
    return true;
  }
};

struct Listed {
  Candidate candidate;
  int64_t bytes = 0;
  json fields;  // of the manifest, if it is good
};

std::vector<Listed> list_all(const std::vector<Candidate>& candidates) {
  std::vector<Listed> list;
  for (const Candidate& candidate : candidates) {
    Listed& listed = list.emplace_back(Listed{candidate, 0, json()});
    if (!candidate.problem.empty()) continue;
    try {
      const Checkpoint checkpoint(candidate.path);
      listed.bytes = checkpoint.size_bytes();
      listed.fields = manifest_fields(checkpoint.manifest());
    } catch (const DataError& error) {
      listed.candidate.problem = error.what();
    }
  }
  return list;
}

// The checkpoints that `name` means: itself, or all of a folder or run.
std::vector<Candidate> candidates_of(const fs::path& path) {
  if (!is_checkpoint(path)) return checkpoints_in(path).candidates();
  Candidate candidate{path, 0, -1, {}};
  try {
    const Manifest manifest = load_manifest(path);
    candidate.step = manifest.state.step, candidate.sequence = manifest.sequence;
  } catch (const DataError& error) {
    candidate.problem = error.what();
  }
  return {candidate};
}

ExitCode ls(int argc, const char* const* argv) {
  std::string name;
  bool as_json = false;
  Arguments arguments("Lists checkpoints: newest last, damaged ones first. Hashes are left to verify.", "ls");
  arguments.need("RUN_OR_FOLDER", name, "a run folder, a folder of checkpoints or a checkpoint");
  arguments.json(as_json);
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  std::vector<Listed> list = list_all(candidates_of(without_slash(name)));
  std::stable_sort(list.begin(), list.end(),
                   [](const Listed& a, const Listed& b) { return a.candidate.sequence < b.candidate.sequence; });
  json objects = json::array();
  for (const auto& [candidate, bytes, fields] : list) {
    json object = {
        {"path", candidate.path.string()}, {"step", candidate.step}, {"good", candidate.problem.empty()}};
    if (!candidate.problem.empty()) {
      object["problem"] = candidate.problem;
      if (!as_json) fmt::print("{}  DAMAGED  {}\n", candidate.path.filename().string(), candidate.problem);
    } else {
      object["sequence"] = candidate.sequence;
      object["bytes"] = bytes;
      object["layout"] = fields["layout"];
      object["state"] = fields["state"];
      const json &state = fields["state"], &layout = fields["layout"];
      if (!as_json)
        fmt::print("{}  {:>10}  tp{} pp{} dp{}{}  {} tokens  loss scale {}  best validation loss {}\n",
                   candidate.path.filename().string(), format_bytes(bytes), layout["tp"].dump(),
                   layout["pp"].dump(), layout["dp"].dump(), layout["zero"] == 1 ? " ZeRO-1" : "",
                   format_count(state["tokens"].get<int64_t>()), state["loss_scale"].dump(),
                   state["best_valid_loss"].is_null() ? "-" : state["best_valid_loss"].dump());
    }
    objects.push_back(std::move(object));
  }
  if (as_json) fmt::print("{}\n", objects.dump(2));
  if (!as_json && list.empty()) fmt::print("no checkpoints in {}\n", name);
  return ExitCode::kOk;
}

ExitCode verify(int argc, const char* const* argv) {
  std::string name;
  bool as_json = false;
  Arguments arguments(
      "Checks every file, chunk and tensor of a checkpoint, or of all in a folder. Ends with 0 if all are good, 3 "
      "if "
      "one is damaged, 7 if a folder has no good one.",
      "verify");
  arguments.need("CHECKPOINT_OR_FOLDER", name, "a checkpoint, a folder of them or a run folder");
  arguments.json(as_json);
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  const fs::path path = without_slash(name);
  const std::vector<Candidate> candidates = candidates_of(path);
  json objects = json::array();
  size_t good = 0;
  for (const Candidate& candidate : candidates) {
    std::vector<std::string> problems;
    if (candidate.problem.empty()) {
      try {
        problems = Checkpoint(candidate.path).verify();
      } catch (const DataError& error) {
        problems = {error.what()};
      }
    } else {
      problems = {candidate.problem};
    }
    good += problems.empty();
    objects.push_back({{"path", candidate.path.string()}, {"good", problems.empty()}, {"problems", problems}});
    if (as_json) continue;
    if (problems.empty()) fmt::print("{}: good\n", candidate.path.string());
    for (const std::string& problem : problems) fmt::print("{}: {}\n", candidate.path.string(), problem);
  }
  if (as_json) fmt::print("{}\n", objects.dump(2));
  if (good == candidates.size() && good > 0) return ExitCode::kOk;
  if (candidates.empty()) fmt::print(stderr, "checkpoint_tool: [checkpoint] {} has no checkpoint.\n", name);
  return good == 0 && !is_checkpoint(path) ? ExitCode::kNoCheckpoint : ExitCode::kData;
}

json to_json(const std::vector<FieldDifference>& differences) {
  json list = json::array();
  for (const FieldDifference& d : differences) list.push_back({{"field", d.field}, {"a", d.a}, {"b", d.b}});
  return list;
}

void print(const char* what, const std::vector<FieldDifference>& differences) {
  for (const FieldDifference& d : differences)
    fmt::print("{} {}: {} and {}\n", what, d.field, d.a.dump(), d.b.dump());
}

ExitCode diff(int argc, const char* const* argv) {
  std::string a, b;
  bool as_json = false;
  Arguments arguments(
      "Compares two checkpoints by their manifests, whatever layouts wrote them. Ends with 0 if tensors and "
      "training "
      "state are equal, else with 1; differences of layout and configuration are only told.",
      "diff");
  arguments.need("A", a, "a checkpoint, or a folder or run whose newest good one is meant");
  arguments.need("B", b, "another one");
  arguments.json(as_json);
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  const Checkpoint in_a = open(a), in_b = open(b);
  const Comparison found = compare(in_a.manifest(), in_b.manifest());
  if (as_json) {
    json tensors = json::array();
    for (const TensorDifference& d : found.tensors)
      tensors.push_back({{"kind", name(d.kind)}, {"tensor", d.tensor}, {"difference", d.what}});
    const json all = {{"equal", found.same()},
                      {"tensors", tensors},
                      {"state", to_json(found.state)},
                      {"layout", to_json(found.layout)},
                      {"config", to_json(found.config)}};
    fmt::print("{}\n", all.dump(2));
  } else {
    for (const TensorDifference& d : found.tensors) fmt::print("{} {}: {}\n", name(d.kind), d.tensor, d.what);
    print("state", found.state);
    print("layout", found.layout);
    print("config", found.config);
    fmt::print("{}\n", found.same()
                           ? "equal: all tensors and the training state"
                           : fmt::format("different: {} of {} tensors, {} fields of the state",
                                         found.tensors.size(), in_a.manifest().tensors.size(), found.state.size()));
  }
  return found.same() ? ExitCode::kOk : ExitCode::kOther;
}

ExitCode reshard(int argc, const char* const* argv) {
  std::string source, target;
  SavedLayout layout;
  int zero = -1;
  Arguments arguments(
      "Writes a checkpoint as the ranks of another layout would have. Training does so by itself when it "
      "resumes.",
      "reshard");
  arguments.need("SOURCE", source, "a checkpoint, or a folder or run whose newest good one is meant");
  arguments.need("FOLDER", target, "gets the new checkpoint as FOLDER/step-N");
  arguments.flag("--tp", layout.tp, "N", "ranks that share each layer (default: 1)");
  arguments.flag("--pp", layout.pp, "N", "pipeline ranks (default: 1)");
  arguments.flag("--dp", layout.dp, "N", "copies of the model (default: 1)");
  arguments.flag("--zero", zero, "0|1", "1: optimizer state split over dp (default: 1 when dp > 1)")
      ->check(CLI::Range(0, 1));
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  layout.zero = zero >= 0 ? zero : layout.dp > 1 ? 1 : 0;
  Checkpoint checkpoint = open(source);
  const fs::path path = trine::reshard(checkpoint, target, layout);
  fmt::print("{}: {} -> {}\n", path.string(), to_string(checkpoint.manifest().layout), to_string(layout));
  return ExitCode::kOk;
}

// "5GB", "500MB", "2GiB" or bytes.
int64_t parse_size(const std::string& text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  const std::pair<std::string_view, int64_t> units[] = {
      {"", 1},          {"KB", 1'000},    {"MB", 1'000'000}, {"GB", 1'000'000'000},
      {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  for (const auto& [name, bytes] : units)
    if (error == std::errc{} && std::string_view(unit, end) == name && number >= 1 && number <= INT64_MAX / bytes)
      return number * bytes;
  throw ConfigError(fmt::format("[flags] --max-shard is {}, need a size such as 5GB or 500MiB.", text));
}

// The file of the tokenizer that was trained with, if it is still that one.
std::string tokenizer_of(const Checkpoint& checkpoint) {
  const std::string spec = saved_model(checkpoint).tokenizer;
  if (spec.empty() || spec == "bytes") return {};
  try {
    std::error_code error;
    const std::string file = fs::is_directory(spec, error) ? tokenizer_in(spec) : spec;
    if (fmt::format("{:016x}", make_tokenizer(file)->hash()) == checkpoint.manifest().state.tokenizer_hash)
      return file;
    fmt::print(stderr, "warning: {} is not the tokenizer of this checkpoint any more: it is not copied.\n", file);
  } catch (const DataError& error) {
    fmt::print(stderr, "warning: the tokenizer is not copied: {}\n", error.what());
  }
  return {};
}

ExitCode export_hf(int argc, const char* const* argv) {
  std::string source, target, max_shard = "5GB", dtype;
  Arguments arguments("Writes the weights as a folder that Hugging Face's transformers (4 and 5) loads.",
                      "export-hf");
  arguments.need("CHECKPOINT", source, "a checkpoint, or a folder or run whose newest good one is meant");
  arguments.need("DIR", target, "a new folder");
  arguments.flag("--max-shard", max_shard, "SIZE", "of one safetensors file (default: 5GB)");
  arguments.flag("--dtype", dtype, "bf16|f32", "of the weights (default: bf16 if that was trained in, else f32)")
      ->check(CLI::IsMember({"bf16", "f32"}));
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  ExportOptions options{.max_shard_bytes = parse_size(max_shard), .dtype = {}, .tokenizer = {}};
  if (!dtype.empty()) options.dtype = parse_dtype(dtype);
  Checkpoint checkpoint = open(source);
  options.tokenizer = tokenizer_of(checkpoint);
  for (const std::string& file : export_hugging_face(checkpoint, target, options))
    fmt::print("{}\n", (fs::path(target) / file).string());
  return ExitCode::kOk;
}

ExitCode import_hf(int argc, const char* const* argv) {
  std::string source, target;
  Arguments arguments("Makes a checkpoint of step 0 from a Hugging Face folder, for train_llama --load-weights.",
                      "import-hf");
  arguments.need("DIR", source, "with config.json and safetensors");
  arguments.need("FOLDER", target, "gets the checkpoint as FOLDER/step-000000");
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  std::string tokenizer = tokenizer_in(source);
  std::unique_ptr<Tokenizer> made;
  try {
    if (!tokenizer.empty()) made = make_tokenizer(tokenizer);
  } catch (const DataError& error) {
    fmt::print(stderr, "warning: imported without a tokenizer: {}\n", error.what());
    tokenizer.clear();
  }
  if (!made) made = make_byte_tokenizer();
  const std::string hash = fmt::format("{:016x}", made->hash());
  fmt::print("{}\n", import_hugging_face(source, target, tokenizer, hash).string());
  return ExitCode::kOk;
}

struct Command {
  std::string_view name, help;
  ExitCode (*run)(int argc, const char* const* argv);
};
constexpr Command kCommands[] = {
    {"ls", "lists the checkpoints of a run: step, size, layout, state, damaged ones", ls},
    {"verify", "checks every byte of one or of all", verify},
    {"diff", "which tensors and fields differ between two", diff},
    {"reshard", "cuts one anew for another layout", reshard},
    {"export-hf", "writes a Hugging Face folder", export_hf},
    {"import-hf", "makes a checkpoint from a Hugging Face folder", import_hf},
};

std::string overview() {
  std::string text =
      "Looks at checkpoints and converts them.\nUsage: checkpoint_tool COMMAND ... "
      "(checkpoint_tool COMMAND --help)\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<10} {}\n", command.name, command.help);
  return text;
}

ExitCode run(int argc, const char* const* argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  for (const Command& command : kCommands)
    if (word == command.name) return command.run(argc - 1, argv + 1);
  if (word == "--help" || word == "-h") {
    fmt::print("{}", overview());
    return ExitCode::kOk;
  }
  if (word == "--version") {
    fmt::print("{}\n", version_text());
    return ExitCode::kOk;
  }
  throw ConfigError(word.empty() ? "[flags] no command.\n" + overview()
                                 : fmt::format("[flags] {} is no command.\n{}", word, overview()));
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a full disk, not a crash
  try {
    return static_cast<int>(trine::run(argc, argv));
  } catch (const trine::Error& error) {
    fmt::print(stderr, "checkpoint_tool: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "checkpoint_tool: [memory] out of host memory.\n");
    return static_cast<int>(trine::ExitCode::kOutOfMemory);
  } catch (const std::exception& error) {
    fmt::print(stderr, "checkpoint_tool: {}\n", error.what());
    return static_cast<int>(trine::ExitCode::kOther);
  }
}
