// checkpoint_tool: looks at checkpoints, cuts them anew, and turns them into Hugging Face folders and back. Needs
// neither MPI nor a GPU.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <tuple>

#include "base/exit_code.h"
#include "base/file_system.h"
#include "base/program.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/compare.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/reshard.h"
#include "checkpoint/saved_model.h"
#include "data/byte_tokenizer_files.h"
#include "data/text_marks.h"
#include "data/tokenizer.h"
#include "examples/commands.h"
#include "examples/program_flags.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Any other folder is taken for one of checkpoints, without any. DataError if there is no such folder.
CheckpointPlace place_of(const fs::path& path) {
  if (const auto place = find_checkpoints(path)) return *place;
  return {checkpoints_of(path), {}};
}

// That checkpoint, or the newest good one of a folder or run.
Checkpoint open(const std::string& name) {
  const CheckpointPlace place = place_of(name);
  if (!place.checkpoint.empty()) return Checkpoint(place.checkpoint);
  const Chosen chosen = CheckpointFolder(place.folder).newest_valid();
  for (const std::string& line : chosen.passed_over) say(stderr, "warning: passed over {}\n", line);
  Checkpoint checkpoint(chosen.path);
  checkpoint.trust_files();  // their hashes were just compared
  return checkpoint;
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
    return with_numbers<T>(app.add_option(name, value, help))->type_name(type)->group("Options");
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
  fs::path path;
  int64_t step = 0, sequence = -1;
  bool unfinished = false, unreadable = false;
  std::vector<std::string> problems;
  bool loads = false;   // for --resume, as far as it was looked at
  bool newest = false;  // of those: what --resume takes
  int64_t bytes = 0;
  json fields;  // of the manifest, if it is good

  bool good() const { return problems.empty() && !unfinished; }
  const char* status() const {
    return unfinished ? "unfinished" : unreadable ? "unreadable" : good() ? "good" : "damaged";
  }
};

// Manifest and sizes of files, or every byte.
Listed look_at(const Candidate& candidate, bool every_byte) {
  Listed listed{.path = candidate.path, .step = candidate.step, .sequence = candidate.sequence};
  try {
    Checkpoint checkpoint(candidate.path);
    listed.bytes = checkpoint.size_bytes();
    listed.fields = manifest_fields(checkpoint.manifest());
    if (every_byte) {
      listed.problems = checkpoint.verify();
      checkpoint.check_files();  // those that are good are not read again
    }
    listed.loads = true;
  } catch (const DataError& error) {
    if (listed.problems.empty()) listed.problems = {error.what()};
    listed.unreadable = dynamic_cast<const IoError*>(&error) != nullptr;
  }
  return listed;
}

// That checkpoint, or all of the folder: damaged manifests, then newest last, then what is unfinished.
std::vector<Listed> list_all(const CheckpointPlace& place, bool every_byte) {
  if (!place.checkpoint.empty()) {
    Listed one = look_at({.path = place.checkpoint, .problem = {}}, every_byte);
    if (!one.fields.is_null()) one.step = one.fields["state"]["step"], one.sequence = one.fields["sequence"];
    return {one};
  }
  const CheckpointFolder folder(place.folder);
  std::vector<Listed> list;
  for (const Candidate& candidate : folder.candidates()) list.push_back(look_at(candidate, every_byte));
  const auto newest = std::ranges::find_if(list, &Listed::loads);
  if (newest != list.end() && std::ranges::none_of(list, &Listed::unreadable)) newest->newest = true;
  std::ranges::sort(list, {}, [](const Listed& listed) { return std::tuple(listed.sequence, listed.step); });
  for (const fs::path& leftover : folder.leftovers()) list.push_back({.path = leftover, .unfinished = true});
  return list;
}

json to_json(const Listed& listed) {
  return {{"path", listed.path.string()},
          {"status", listed.status()},
          {"good", listed.good()},
          {"problems", listed.problems},
          {"resume", listed.newest}};
}

// A line per problem, or one that says that it is good.
void print_state(const Listed& listed, const std::string& good) {
  const std::string name = listed.path.filename().string();
  if (listed.unfinished)
    say(stdout, "{}  UNFINISHED  a save or removal that still runs or was cut off; the next save clears it away\n",
        name);
  else if (listed.problems.empty())
    say(stdout, "{}  {}\n", name, good);
  for (const std::string& problem : listed.problems)
    say(stdout, "{}  {}  {}\n", name, listed.unreadable ? "UNREADABLE" : "DAMAGED", problem);
}

// REQUIRES: `list` is that of a folder, not of one checkpoint.
void print_choice(const std::vector<Listed>& list, const fs::path& path, const char* how) {
  const auto newest = std::ranges::find_if(list, &Listed::newest);
  if (list.empty())
    say(stdout, "no checkpoints in {}\n", path.string());
  else if (std::ranges::any_of(list, &Listed::unreadable))
    say(stdout, "not all can be read: --resume would end with exit code 3\n");
  else if (newest == list.end())
    say(stdout, "none is good: --resume would end with exit code 7\n");
  else
    say(stdout, "--resume takes {}{}\n", newest->path.filename().string(), how);
}

std::string describe(const Listed& listed) {
  const json &state = listed.fields["state"], &layout = listed.fields["layout"];
  return fmt::format(
      "{:>10}  {}  {} tokens  loss scale {}  best validation loss {}", format_bytes(listed.bytes),
      to_string(SavedLayout{layout["tp"], layout["pp"], layout["dp"], layout["vpp"], layout["zero"]}),
      format_count(state["tokens"].get<int64_t>()), state["loss_scale"].dump(),
      state["best_valid_loss"].is_null() ? "-" : state["best_valid_loss"].dump());
}

ExitCode ls(int argc, const char* const* argv) {
  std::string name;
  bool as_json = false;
  Arguments arguments(
      "Lists checkpoints, newest last, damaged and unfinished ones too, and says which one --resume takes. Looks "
      "at manifests and sizes of files: every byte is left to verify.",
      "ls");
  arguments.need("RUN_OR_FOLDER", name, "a run folder, a folder of checkpoints or a checkpoint");
  arguments.json(as_json);
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  const CheckpointPlace place = place_of(name);
  const std::vector<Listed> list = list_all(place, false);
  json objects = json::array();
  for (const Listed& listed : list) {
    json object = to_json(listed);
    if (listed.good())
      object.update({{"step", listed.step},
                     {"sequence", listed.sequence},
                     {"bytes", listed.bytes},
                     {"layout", listed.fields["layout"]},
                     {"state", listed.fields["state"]}});
    if (!as_json) print_state(listed, listed.good() ? describe(listed) : "");
    objects.push_back(std::move(object));
  }
  if (as_json) say(stdout, "{}\n", objects.dump(2, ' ', false, json::error_handler_t::replace));
  if (!as_json && place.checkpoint.empty()) print_choice(list, name, ", if verify finds its bytes good");
  return std::ranges::any_of(list, &Listed::unreadable) ? ExitCode::kData : ExitCode::kOk;
}

ExitCode verify(int argc, const char* const* argv) {
  std::string name;
  bool as_json = false;
  Arguments arguments(
      "Checks every file, chunk and tensor of a checkpoint, or of all in a folder, and says which one --resume "
      "takes. Ends with 0 if all are good, 3 if one is damaged, 7 if a folder has no good one.",
      "verify");
  arguments.need("CHECKPOINT_OR_FOLDER", name, "a checkpoint, a folder of them or a run folder");
  arguments.json(as_json);
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  const CheckpointPlace place = place_of(name);
  const std::vector<Listed> list = list_all(place, true);
  json objects = json::array();
  int64_t good = 0, damaged = 0;
  for (const Listed& listed : list) {
    good += listed.good(), damaged += !listed.problems.empty();
    objects.push_back(to_json(listed));
    if (!as_json) print_state(listed, "good");
  }
  if (as_json) say(stdout, "{}\n", objects.dump(2, ' ', false, json::error_handler_t::replace));
  if (!as_json && place.checkpoint.empty()) print_choice(list, name, "");
  if (std::ranges::any_of(list, &Listed::unreadable)) return ExitCode::kData;
  if (good == 0 && place.checkpoint.empty()) return ExitCode::kNoCheckpoint;
  return damaged > 0 ? ExitCode::kData : ExitCode::kOk;
}

json to_json(const std::vector<FieldDifference>& differences) {
  json list = json::array();
  for (const FieldDifference& d : differences) list.push_back({{"field", d.field}, {"a", d.a}, {"b", d.b}});
  return list;
}

void print(const char* what, const std::vector<FieldDifference>& differences) {
  for (const FieldDifference& d : differences)
    say(stdout, "{} {}: {} and {}\n", what, d.field, d.a.dump(), d.b.dump());
}

ExitCode diff(int argc, const char* const* argv) {
  std::string a, b;
  bool as_json = false;
  Arguments arguments(
      "Compares two checkpoints by their manifests, whatever layouts wrote them. Ends with 0 if tensors and "
      "training state are equal, else with 1; differences of layout and configuration are only told.",
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
    say(stdout, "{}\n", all.dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    for (const TensorDifference& d : found.tensors) say(stdout, "{} {}: {}\n", name(d.kind), d.tensor, d.what);
    print("state", found.state);
    print("layout", found.layout);
    print("config", found.config);
    say(stdout, "{}\n",
        found.same() ? "equal: all tensors and the training state"
                     : fmt::format("different: {} of {} tensors, {} fields of the state", found.tensors.size(),
                                   in_a.manifest().tensors.size(), found.state.size()));
  }
  return found.same() ? ExitCode::kOk : ExitCode::kOther;
}

ExitCode reshard(int argc, const char* const* argv) {
  std::string source, target;
  SavedLayout layout;
  int zero = -1;
  Arguments arguments(
      "Writes a checkpoint as the ranks of another layout would have. "
      "Training does so by itself when it resumes.",
      "reshard");
  arguments.need("SOURCE", source, "a checkpoint, or a folder or run whose newest good one is meant");
  arguments.need("FOLDER", target, "gets the new checkpoint as FOLDER/step-N");
  arguments.flag("--tp", layout.tp, "N", "ranks that share each layer (default: 1)");
  arguments.flag("--pp", layout.pp, "N", "pipeline ranks (default: 1)");
  arguments.flag("--vpp", layout.vpp, "N",
                 "stages of each pipeline rank, for the interleaved schedule (default: 1)");
  arguments.flag("--dp", layout.dp, "N", "copies of the model (default: 1)");
  arguments.flag("--zero", zero, "0|1", "1: optimizer state split over dp (default: 1 when dp > 1)")
      ->check(CLI::Range(0, 1));
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  layout.zero = zero >= 0 ? zero : layout.dp > 1 ? 1 : 0;
  Checkpoint checkpoint = open(source);
  const fs::path path = trine::reshard(checkpoint, target, layout);
  say(stdout, "{}: {} -> {}\n", path.string(), to_string(checkpoint.manifest().layout), to_string(layout));
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
    const auto tokenizer = make_tokenizer(spec);
    const std::string file = tokenizer->name();
    if (file == "bytes") return {};
    if (fmt::format("{:016x}", tokenizer->hash()) == checkpoint.manifest().state.tokenizer_hash) return file;
    say(stderr, "warning: {} is not the tokenizer of this checkpoint any more: it is not copied.\n", file);
  } catch (const DataError& error) {
    say(stderr, "warning: the tokenizer is not copied: {}\n", error.what());
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
  arguments.flag("--dtype", dtype, "f32|bf16|f16", "of the weights (default: what was trained in)")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "fp16"}));
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  ExportOptions options{.max_shard_bytes = parse_size(max_shard), .dtype = {}, .tokenizer = {}};
  if (!dtype.empty()) options.dtype = parse_dtype(dtype);
  Checkpoint checkpoint = open(source);
  const SavedModel model = saved_model(checkpoint);
  if (model.tokenizer == "bytes" && model.config.vocab == kByteVocab) options.files = hugging_face_byte_tokenizer();
  options.tokenizer = tokenizer_of(checkpoint);
  for (const std::string& file : export_hugging_face(checkpoint, target, options))
    say(stdout, "{}\n", (fs::path(target) / file).string());
  return ExitCode::kOk;
}

ExitCode import_hf(int argc, const char* const* argv) {
  std::string source, target;
  Arguments arguments("Makes a checkpoint of step 0 from a Hugging Face folder, for train_llama --load-weights.",
                      "import-hf");
  arguments.need("DIR", source, "with config.json and safetensors");
  arguments.need("FOLDER", target, "gets the checkpoint as FOLDER/step-000000");
  if (!arguments.parse(argc, argv)) return ExitCode::kOk;
  std::unique_ptr<Tokenizer> made;
  try {
    if (has_tokenizer(source)) made = make_tokenizer(source);
  } catch (const DataError& error) {
    say(stderr, "warning: imported without a tokenizer: {}\n", error.what());
  }
  if (made && !made->note().empty()) say(stderr, "warning: {}\n", made->note());
  ModelTokenizer tokenizer;
  if (made) tokenizer = {made->name(), "", text_ids_of(*made)};
  tokenizer.hash = fmt::format("{:016x}", (made ? *made : *make_byte_tokenizer()).hash());
  say(stdout, "{}\n", import_hugging_face(source, target, tokenizer).string());
  return ExitCode::kOk;
}

constexpr ProgramCommand kCommands[] = {
    {"ls", "lists the checkpoints of a run: size, layout, state, damaged and unfinished ones", ls},
    {"verify", "checks every byte of one or of all", verify},
    {"diff", "which tensors and fields differ between two", diff},
    {"reshard", "cuts one anew for another layout", reshard},
    {"export-hf", "writes a Hugging Face folder", export_hf},
    {"import-hf", "makes a checkpoint from a Hugging Face folder", import_hf},
};

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  return trine::run_program("checkpoint_tool", "Looks at checkpoints and converts them.", trine::kCommands, argc,
                            argv);
}
