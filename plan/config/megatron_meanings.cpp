#include "plan/config/megatron_meanings.h"

#include "base/text.h"

namespace trine::megatron {

Meaning holds() { return {}; }
Meaning refuse(std::string why) { return {.flags = {}, .refusal = std::move(why)}; }
Meaning say(std::string_view flag, std::string text) {
  return {.flags = {{flag, {std::move(text)}}}, .refusal = {}};
}

std::optional<double> number(const std::string& text) { return ValueText<double>::parse(text); }

namespace {

// The last value given under one of our names in the same line, as an integer.
std::optional<int64_t> count_of(const Line& line, std::string_view flag) {
  const auto it = line.ours.find(flag);
  return it == line.ours.end() ? std::nullopt : parse_integer(it->second.texts.back());
}
bool given(const Line& line, std::string_view megatron) { return line.megatron.contains(megatron); }
std::string text_of(const Line& line, std::string_view megatron, std::string absent) {
  const auto it = line.megatron.find(megatron);
  return it == line.megatron.end() ? std::move(absent) : it->second.texts.back();
}

}  // namespace

// "949,50,1": train, valid, test. There is no test part here: it is held out of training all the same.
Meaning split(const Texts& texts, const Line&) {
  std::vector<double> parts;
  for (std::string_view rest = texts.back();;) {
    const size_t end = rest.find_first_of(",/");
    const auto part = number(std::string(rest.substr(0, end)));
    if (!part || *part < 0) return refuse("it needs numbers such as 99,1,0; --valid-fraction says the same.");
    parts.push_back(*part);
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  double all = 0;
  for (const double part : parts) all += part;
  if (!(all > 0) || parts.size() > 3) return refuse("it needs up to three numbers, not all 0, such as 99,1,0.");
  return say("valid-fraction", fmt::format("{:.15g}", (all - parts[0]) / all));
}

Meaning data_path(const Texts& texts, const Line&) {
  if (texts.size() == 2 && number(texts[0])) return say("data", texts[1]);
  if (texts.size() > 1 && number(texts[0]))
    return refuse("--data reads files one after another, without weights. Leave the numbers out.");
  return {.flags = {{"data", texts}}, .refusal = {}};
}

// Samples are counted in steps here.
Meaning samples(std::string_view flag, const Texts& texts, const Line& line) {
  const auto samples = parse_integer(texts.back()), batch = count_of(line, "global-batch");
  if (samples && batch && *batch > 0 && *samples % *batch == 0) return say(flag, std::to_string(*samples / *batch));
  return refuse(
      fmt::format("it is no whole number of steps of a --global-batch-size in the same line. Say --{}.", flag));
}

namespace {

Meaning decay_ends(std::optional<int64_t> end, std::optional<int64_t> steps, const Line& line) {
  const auto style = line.ours.find("lr-schedule");
  const bool constant = style != line.ours.end() && style->second.texts.back() == "constant";
  if (constant || (end && end == steps)) return holds();
  return refuse("the learning rate reaches --min-lr at the last step. Leave it out, or make it --train-iters.");
}

}  // namespace

Meaning decay_iters(const Texts& texts, const Line& line) {
  return decay_ends(parse_integer(texts.back()), count_of(line, "steps"), line);
}
Meaning decay_samples(const Texts& texts, const Line& line) {
  return decay_ends(parse_integer(texts.back()), parse_integer(text_of(line, "train-samples", "")), line);
}

Meaning load(const Texts& texts, const Line& line) {
  const auto save = line.ours.find("save");
  if (given(line, "finetune")) return say("load-weights", texts.back());
  if (given(line, "exit-on-missing-checkpoint")) return say("resume", texts.back());
  if (save != line.ours.end() && save->second.texts.back() == texts.back()) return say("resume", "auto");
  return refuse(
      "say --resume DIR to go on with a run of Trine, or --load-weights DIR to begin with its weights "
      "(--load is understood where it equals --save: --resume auto).");
}

Meaning recompute_granularity(const Texts& texts, const Line& line) {
  if (texts.back() == "selective") return say("recompute", "selective");
  if (texts.back() != "full") return refuse("it needs selective or full; --recompute says it all.");
  if (text_of(line, "recompute-method", "uniform") != "uniform")
    return refuse("layers are recomputed alike on all stages. Say --recompute full or group:K.");
  const std::string group = text_of(line, "recompute-num-layers", "1");
  return say("recompute", group == "1" ? "full" : "group:" + group);
}

namespace {

Meaning chunks(int64_t vpp) {
  if (vpp == 1) return holds();
  return {.flags = {{"vpp", {std::to_string(vpp)}}, {"schedule", {"interleaved"}}}, .refusal = {}};
}
}  // namespace

Meaning virtual_stages(const Texts& texts, const Line&) {
  const auto vpp = parse_integer(texts.back());
  return vpp ? chunks(*vpp) : refuse("it needs an integer. Say --vpp V --schedule interleaved.");
}
Meaning layers_of_virtual_stage(const Texts& texts, const Line& line) {
  const auto size = parse_integer(texts.back()), layers = count_of(line, "layers"), pp = count_of(line, "pp");
  if (size && layers && pp && *size > 0 && *pp > 0 && *layers % (*size * *pp) == 0)
    return chunks(*layers / (*size * *pp));
  return refuse(
      "it needs --num-layers and --pipeline-model-parallel-size in the same line, and to divide them. Say "
      "--vpp V --schedule interleaved.");
}

Meaning both_ends(std::string_view other, const Line& line) {
  if (given(line, other)) return say("stage-split", "layers-and-ends");
  return refuse(fmt::format(
      "embedding and loss count as a layer each together only. Add --{}, or say --stage-split cost, layers or "
      "layers-and-ends.",
      other));
}

Meaning padded_vocabulary(const Texts& texts, const Line& line) {
  const auto multiple = parse_integer(texts.back()), vocab = count_of(line, "vocab");
  const int64_t tp = count_of(line, "tp").value_or(1);
  if (multiple == 1 || (multiple && vocab && *multiple > 0 && tp > 0 && *vocab % (*multiple * tp) == 0))
    return holds();
  return refuse("no ids are added here, --tp splits any number of them. Say the padded number with --vocab.");
}

Meaning profile(const Texts&, const Line& line) {
  const auto first = parse_integer(text_of(line, "profile-step-start", "10"));
  const std::string last = text_of(line, "profile-step-end", "12");
  return first ? say("trace", fmt::format("{}:{}", *first + 1, last)) : refuse("say --trace A:B.");
}

Meaning rope_scaling(const Texts&, const Line& line) {
  return say("rope-scaling", "llama3:" + text_of(line, "rope-scaling-factor", "8"));
}

Meaning loss_scale(double only, const char* why, const Texts& texts, const Line& line) {
  return !given(line, "fp16") || number(texts.back()) == only ? holds() : refuse(why);
}

Meaning part_of(std::string_view other, const char* otherwise, const Line& line) {
  return given(line, other) ? holds() : refuse(otherwise);
}

}  // namespace trine::megatron
