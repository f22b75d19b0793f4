#include "cluster/cpu_profile.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace trine {
namespace {

using nlohmann::json;

// "cpu.ops[3]" and what is wrong in it; all of an entry's problems are one line.
class Entry {
 public:
  Entry(const json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object()) problem_ = "is no object";
  }

  std::string text(const char* key) {
    if (!problem_.empty()) return {};
    if (!object_.contains(key) || !object_[key].is_string()) return fail(key, "a string"), std::string();
    return object_[key].get<std::string>();
  }
  double number(const char* key, double least, double most) {
    if (!problem_.empty()) return 0;
    if (!object_.contains(key) || !object_[key].is_number()) return fail(key, "a number"), 0;
    const double value = object_[key].get<double>();
    if (!(least <= value && value <= most)) fail(key, fmt::format("{:g} to {:g}", least, most));
    return value;
  }
  // Rows of `width` numbers, none negative.
  std::vector<std::vector<double>> rows(const char* key, size_t width) {
    if (!problem_.empty()) return {};
    if (!object_.contains(key) || !object_[key].is_array() || object_[key].empty())
      return fail(key, "a list that is not empty"), std::vector<std::vector<double>>();
    std::vector<std::vector<double>> rows;
    for (const json& row : object_[key]) {
      const bool right = row.is_array() && row.size() == width && std::ranges::all_of(row, [](const json& value) {
                           return value.is_number() && std::isfinite(value.get<double>()) && value >= 0;
                         });
      if (!right) return fail(key, fmt::format("rows of {} numbers, none negative", width)), rows;
      rows.push_back(row.get<std::vector<double>>());
    }
    return rows;
  }
  void fail(const char* key, std::string_view need) {
    if (problem_.empty())
      problem_ = fmt::format("has {} {}; it needs {}", key,
                             object_.contains(key)
                                 ? object_[key].dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 40)
                                 : "nowhere",
                             need);
  }
  bool take(const std::string& where, Problems& problems) const {
    if (!problem_.empty()) problems.add(where, "{} {}.", path_, problem_);
    return problem_.empty();
  }

 private:
  const json& object_;
  std::string path_, problem_;
};

constexpr double kMost = 1e12;

bool is_compute_type(DType type) { return type == DType::kF32 || type == DType::kBF16 || type == DType::kF16; }

CpuOpCost read_op(Entry& entry) {
  CpuOpCost op{.op = entry.text("op"), .shapes = {}};
  const std::string dtype = entry.text("dtype"), work = entry.text("work");
  const auto type = parse_dtype(dtype);
  if (!type || !is_compute_type(*type)) entry.fail("dtype", "f32, bf16 or f16");
  op.dtype = type.value_or(DType::kBF16);
  op.threads = static_cast<int>(entry.number("threads", 1, 4096));
  if (work != "flops" && work != "bytes") entry.fail("work", "flops or bytes");
  op.by_bytes = work == "bytes";
  op.constant_us = entry.number("constant_us", 0, kMost);
  op.giga_per_s = entry.number("giga_per_s", 1e-6, kMost);
  op.streams = entry.number("streams", 0, 1);
  for (const auto& row : entry.rows("shapes", 3)) op.shapes.push_back({row[0], row[1], row[2]});
  return op;
}

CpuTransferCost read_transfer(Entry& entry) {
  CpuTransferCost transfer{.kind = entry.text("kind"), .points = {}};
  constexpr std::string_view kKinds[] = {"all_reduce", "all_gather", "reduce_scatter", "reduce_scatter_bf16",
                                         "message"};
  if (std::ranges::find(kKinds, transfer.kind) == std::end(kKinds))
    entry.fail("kind", "all_reduce, all_gather, reduce_scatter, reduce_scatter_bf16 or message");
  transfer.ranks = static_cast<int>(entry.number("ranks", 2, 1e6));
  transfer.hosts = static_cast<int>(entry.number("hosts", 1, 1e6));
  for (const auto& row : entry.rows("points", 2)) {
    if (!transfer.points.empty() && row[0] <= transfer.points.back().bytes)
      entry.fail("points", "rows by rising bytes");
    transfer.points.push_back({row[0], row[1]});
  }
  return transfer;
}

template <typename Cost, typename Read>
void read_table(const json& object, const char* key, std::vector<Cost>& to, const std::string& where,
                Problems& problems, Read&& read) {
  if (!object.contains(key)) return;
  if (!object[key].is_array()) return problems.add(where, "cpu.{} needs a list of objects.", key);
  for (size_t i = 0; i < object[key].size(); ++i) {
    Entry entry(object[key][i], fmt::format("cpu.{}[{}]", key, i));
    Cost cost = read(entry);
    if (entry.take(where, problems)) to.push_back(std::move(cost));
  }
}

}  // namespace

void read_cpu_tables(const json& object, CpuProfile& cpu, const std::string& where, Problems& problems) {
  read_table(object, "ops", cpu.ops, where, problems, read_op);
  read_table(object, "transfers", cpu.transfers, where, problems, read_transfer);
}

void write_cpu_tables(const CpuProfile& cpu, nlohmann::ordered_json& object) {
  auto ops = nlohmann::ordered_json::array(), transfers = ops;
  for (const CpuOpCost& op : cpu.ops) {
    auto shapes = nlohmann::ordered_json::array();
    for (const CpuOpCost::Shape& shape : op.shapes) shapes.push_back({shape.flops, shape.bytes, shape.us});
    ops.push_back({{"op", op.op},
                   {"dtype", name(op.dtype)},
                   {"threads", op.threads},
                   {"work", op.by_bytes ? "bytes" : "flops"},
                   {"constant_us", op.constant_us},
                   {"giga_per_s", op.giga_per_s},
                   {"streams", op.streams},
                   {"shapes", shapes}});
  }
  for (const CpuTransferCost& transfer : cpu.transfers) {
    auto points = nlohmann::ordered_json::array();
    for (const CpuTransferCost::Point& point : transfer.points) points.push_back({point.bytes, point.us});
    transfers.push_back(
        {{"kind", transfer.kind}, {"ranks", transfer.ranks}, {"hosts", transfer.hosts}, {"points", points}});
  }
  object["ops"] = ops;
  object["transfers"] = transfers;
}

}  // namespace trine
