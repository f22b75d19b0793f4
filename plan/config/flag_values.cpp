#include "plan/config/flag_values.h"

#include "base/text.h"

namespace trine {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at; (at = text.find(separator)) != std::string_view::npos; text.remove_prefix(at + 1))
    parts.push_back(text.substr(0, at));
  parts.push_back(text);
  return parts;
}

constexpr std::array<std::string_view, 5> kRecomputeNames = {"none", "selective", "group", "full", "auto"};

}  // namespace

std::optional<bool> ValueText<bool>::parse(std::string_view text) {
  if (text == "on" || text == "true" || text == "1") return true;
  if (text == "off" || text == "false" || text == "0") return false;
  return std::nullopt;
}

std::string ValueText<DType>::needs() { return "one of bf16, fp16, f32"; }
std::optional<DType> ValueText<DType>::parse(std::string_view text) {
  const std::optional<DType> dtype = parse_dtype(text);
  return dtype && is_float(*dtype) ? dtype : std::nullopt;
}
std::string ValueText<DType>::print(const DType& value) {
  return value == DType::kF16 ? "fp16" : std::string(name(value));
}

std::string ValueText<LossScale>::needs() { return "a number, or dynamic"; }
std::optional<LossScale> ValueText<LossScale>::parse(std::string_view text) {
  if (text == "dynamic") return LossScale{.dynamic = true};
  const std::optional<double> value = ValueText<double>::parse(text);
  return value ? std::optional(LossScale{.value = *value}) : std::nullopt;
}
std::string ValueText<LossScale>::print(const LossScale& scale) {
  return scale.dynamic ? "dynamic" : ValueText<double>::print(scale.value);
}

std::string ValueText<Recompute>::needs() { return "none, selective, group:K, full or auto"; }
std::optional<Recompute> ValueText<Recompute>::parse(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ':');
  for (size_t i = 0; i < kRecomputeNames.size(); ++i) {
    if (parts[0] != kRecomputeNames[i]) continue;
    const auto kind = static_cast<Recompute::Kind>(i);
    const bool is_group = kind == Recompute::Kind::kGroup;
    if (parts.size() != (is_group ? 2u : 1u)) return std::nullopt;
    const std::optional<int64_t> group = is_group ? ValueText<int64_t>::parse(parts[1]) : 1;
    if (!group || *group < 1) return std::nullopt;
    return Recompute{kind, *group};
  }
  return std::nullopt;
}
std::string ValueText<Recompute>::print(const Recompute& value) {
  std::string text(kRecomputeNames[static_cast<size_t>(value.kind)]);
  return value.kind == Recompute::Kind::kGroup ? fmt::format("{}:{}", text, value.group) : text;
}

std::string ValueText<TraceSteps>::needs() { return "on, off, or the steps A:B with 1 <= A <= B"; }
std::optional<TraceSteps> ValueText<TraceSteps>::parse(std::string_view text) {
  if (text == "off") return TraceSteps{};
  if (text == "on") return TraceSteps::all();
  const std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() != 2) return std::nullopt;
  const auto first = ValueText<int64_t>::parse(parts[0]), last = ValueText<int64_t>::parse(parts[1]);
  if (!first || !last || *first < 1 || *last < *first) return std::nullopt;
  return TraceSteps{*first, *last};
}
std::string ValueText<TraceSteps>::print(const TraceSteps& steps) {
  if (!steps.any()) return "off";
  return steps == TraceSteps::all() ? "on" : fmt::format("{}:{}", steps.first, steps.last);
}

std::string ValueText<RankList>::needs() { return "all, or ranks and ranges of them, such as 0,3,8:15"; }
std::optional<RankList> ValueText<RankList>::parse(std::string_view text) {
  RankList list;
  if (text == "all") return list;
  for (const std::string_view part : split(text, ',')) {
    const std::vector<std::string_view> ends = split(part, ':');
    const auto first = ValueText<int>::parse(ends.front()), last = ValueText<int>::parse(ends.back());
    if (ends.size() > 2 || !first || !last || *first < 0 || *last < *first) return std::nullopt;
    list.ranges.push_back({*first, *last});
  }
  return list;
}
std::string ValueText<RankList>::print(const RankList& list) {
  std::string text;
  for (const RankList::Range& range : list.ranges) {
    text += fmt::format("{}{}", text.empty() ? "" : ",", range.first);
    if (range.last > range.first) text += fmt::format(":{}", range.last);
  }
  return text.empty() ? "all" : text;
}

std::string ValueText<Bytes>::needs() { return "bytes, such as 22GiB or 500MiB"; }
std::optional<Bytes> ValueText<Bytes>::parse(std::string_view text) {
  const std::optional<int64_t> bytes = parse_bytes(text);
  return bytes ? std::optional(Bytes{*bytes}) : std::nullopt;
}
std::string ValueText<Bytes>::print(const Bytes& bytes) { return fmt::format("{}", bytes.count); }

std::string ValueText<RopeScaling>::needs() { return "none, linear:FACTOR or llama3:FACTOR[:LOW:HIGH:ORIGINAL]"; }
std::optional<RopeScaling> ValueText<RopeScaling>::parse(std::string_view text) {
  if (text == "none") return RopeScaling{};
  const std::vector<std::string_view> parts = split(text, ':');
  const bool linear = parts[0] == "linear" && parts.size() == 2;
  const bool llama3 = parts[0] == "llama3" && (parts.size() == 2 || parts.size() == 5);
  if (!linear && !llama3) return std::nullopt;
  RopeScaling scaling{.kind = linear ? RopeScaling::Kind::kLinear : RopeScaling::Kind::kLlama3};
  const auto read = [&](size_t i, auto& value) {
    if (i >= parts.size()) return true;
    const auto parsed = ValueText<std::remove_reference_t<decltype(value)>>::parse(parts[i]);
    if (parsed) value = *parsed;
    return parsed.has_value();
  };
  const bool ok = read(1, scaling.factor) && read(2, scaling.low_freq_factor) &&
                  read(3, scaling.high_freq_factor) && read(4, scaling.original_max_position);
  return ok ? std::optional(scaling) : std::nullopt;
}
std::string ValueText<RopeScaling>::print(const RopeScaling& s) {
  if (s.kind == RopeScaling::Kind::kNone) return "none";
  if (s.kind == RopeScaling::Kind::kLinear) return fmt::format("linear:{}", s.factor);
  return fmt::format("llama3:{}:{}:{}:{}", s.factor, s.low_freq_factor, s.high_freq_factor,
                     s.original_max_position);
}

std::string ValueText<std::vector<int>>::needs() { return "token ids, such as 128001,128009, or none"; }
std::optional<std::vector<int>> ValueText<std::vector<int>>::parse(std::string_view text) {
  std::vector<int> ids;
  if (text == "none") return ids;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<int> id = ValueText<int>::parse(part);
    if (!id || *id < 0) return std::nullopt;
    ids.push_back(*id);
  }
  return ids;
}
std::string ValueText<std::vector<int>>::print(const std::vector<int>& ids) {
  return ids.empty() ? "none" : fmt::format("{}", fmt::join(ids, ","));
}

}  // namespace trine
