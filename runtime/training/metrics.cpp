#include "runtime/training/metrics.h"

#include <algorithm>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/input_file.h"
#include "base/json.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const StepMetrics& m) {
  Json line = {{"step", m.step},
               {"loss", m.loss},
               {"grad_norm", optional(m.grad_norm)},
               {"lr", m.lr},
               {"tokens", m.tokens},
               {"tokens_per_s", m.tokens_per_s},
               {"step_s", m.time.step_s},
               {"tflops", m.tflops}};
  if (m.mfu) line["mfu"] = *m.mfu;
  line["memory_peak_bytes"] = m.memory_peak_bytes;
  line["time_unix_s"] = m.time_unix_s;
  line["loss_scale"] = m.loss_scale;
  line["skipped"] = m.skipped;
  for (int k = 0; k < kNumEventKinds; ++k) {
    const EventKind kind = static_cast<EventKind>(k);
    line[fmt::format("{}_s", name(kind))] = m.time[kind];
  }
  // Beside the sum, not part of it.
  for (Axis axis : {Axis::kTp, Axis::kPp, Axis::kDp})
    line["hidden_comm"][fmt::format("{}_s", name(axis))] = m.time.hidden(axis);
  return line;
}

// All that is a number, by name: {"a": 1, "b": {"c": 2}} -> a, b/c. What an event says by itself is left out.
void add_scalars(const Json& line, const std::string& prefix, std::vector<EventFile::Scalar>& scalars) {
  for (const auto& [key, value] : line.items()) {
    if (key == "step" || key == "time_unix_s") continue;
    if (value.is_object()) add_scalars(value, prefix + key + "/", scalars);
    if (value.is_boolean()) scalars.push_back({prefix + key, value.get<bool>() ? 1.0 : 0.0});
    if (value.is_number()) scalars.push_back({prefix + key, value.get<double>()});
  }
}

// Of the header: 0. Nothing for what is no line of ours.
std::optional<int64_t> step_of(std::string_view line) {
  try {
    const Json json = parse_json(line);
    if (!json.is_object()) return std::nullopt;
    const auto step = json.find("step");
    return step != json.end() && step->is_number_integer() ? step->get<int64_t>() : 0;
  } catch (const JsonError&) {
    return std::nullopt;
  }
}

// How many bytes the lines up to a step take, the header among them. Cut in place: at no moment are they not there.
// DataError if they can not be read: a failed read must not cut them off.
int64_t bytes_until(const std::filesystem::path& path, int64_t step) {
  if (!is_there(path)) return 0;
  const InputFile file(path);
  int64_t at = 0, kept = 0;
  bool past = false;
  std::string rest;  // a last line without its end was cut off
  file.read_blocks(0, file.size(), [&](std::span<const std::byte> block) {
    rest.append(reinterpret_cast<const char*>(block.data()), block.size());
    std::string_view lines = rest;
    for (size_t end; !past && (end = lines.find('\n')) != std::string_view::npos; lines.remove_prefix(end + 1)) {
      at += static_cast<int64_t>(end) + 1;
      const std::optional<int64_t> of = step_of(lines.substr(0, end));
      past = of && *of > step;
      if (of && !past) kept = at;
    }
    rest.erase(0, rest.size() - lines.size());
  });
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& path, const MetricsHeader& header,
                             std::optional<int64_t> resumed_step, const std::filesystem::path& tensorboard)
    : file_(path, resumed_step ? bytes_until(path, *resumed_step) : 0) {
  if (!tensorboard.empty()) events_.emplace(tensorboard, resumed_step);
  if (file_.size() > 0) return;
  const Mesh& mesh = header.layout;
  Json line = {{"version", header.version},
               {"commit", header.commit},
               {"layout", {{"pp", mesh.pp}, {"dp", mesh.dp}, {"tp", mesh.tp}}},
               {"model", header.model},
               {"parameters", header.num_parameters}};
  if (header.peak)
    line["peak_tflops"] = header.peak->flops_per_s * 1e-12, line["peak_source"] = header.peak->source;
  if (const auto& [cluster, links_only, times] = header.modelled; !cluster.empty()) {
    line[links_only ? "emulate_links" : "rehearsal"] = cluster;
    line[links_only ? "dilation" : "speed_up"] = times;
  }
  unwritten_header_ = line.dump() + "\n";
  write_text("");
}

void MetricsWriter::write(const StepMetrics& metrics) { write_line(to_json(metrics)); }

void MetricsWriter::write_validation(int64_t step, double valid_loss, double time_unix_s) {
  write_line({{"step", step}, {"valid_loss", valid_loss}, {"time_unix_s", time_unix_s}});
}

void MetricsWriter::write_line(const Json& line) {
  write_text(line.dump() + "\n");
  if (!events_) return;
  std::vector<EventFile::Scalar> scalars;
  add_scalars(line, "", scalars);
  events_->write(line["step"].get<int64_t>(), line["time_unix_s"].get<double>(), scalars);
}

void MetricsWriter::write_text(const std::string& text) {
  if (file_.append(unwritten_header_ + text)) unwritten_header_.clear();
}

std::vector<OutputFile*> MetricsWriter::files() {
  std::vector<OutputFile*> files = {&file_};
  if (events_) files.push_back(&events_->file());
  return files;
}

bool MetricsWriter::failed() {
  const std::vector<OutputFile*> all = files();
  return std::any_of(all.begin(), all.end(), [](const OutputFile* file) { return file->failed(); });
}

}  // namespace trine
