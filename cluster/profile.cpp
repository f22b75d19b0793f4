#include "cluster/profile.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <optional>

#include "base/error.h"
#include "base/file_system.h"
#include "base/input_file.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/built_in.h"

namespace trine {
namespace {

using nlohmann::json;

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

const ProfileField* find_field(std::string_view path) {
  for (const auto fields : {profile_fields(), cpu_fields()})
    if (const auto found = std::ranges::find(fields, path, &ProfileField::path); found != fields.end())
      return &*found;
  return nullptr;
}

std::optional<std::string> nearest_path(std::string_view path) {
  std::vector<std::string> paths;
  for (const auto fields : {profile_fields(), cpu_fields()})
    for (const ProfileField& field : fields) paths.emplace_back(field.path);
  return nearest(path, paths);
}

std::string no_such_path(std::string_view path) {
  const auto guess = nearest_path(path);
  return fmt::format("{} is no number of a profile.{}", path,
                     guess ? fmt::format(" Did you mean {}?", *guess) : " plan_llama clusters --json shows all.");
}

// Fractions are cut where devices, switches and NICs are counted: so there must be none.
bool is_count(const ProfileField& field) {
  return (field.unit.empty() || field.unit == "a host" || field.unit == "0 or 1") &&
         field.path != "network.oversubscription" && !field.path.starts_with("collective.");
}

bool can_be(const ProfileField& field, double value) {
  return std::isfinite(value) && field.min <= value && value <= field.max &&
         (!is_count(field) || value == std::floor(value));
}

std::string out_of_range(const ProfileField& field, double value) {
  return fmt::format("{} is {}; it needs {}{:g} to {:g}{}{}.", field.path, value,
                     is_count(field) ? "a whole number from " : "", field.min, field.max,
                     field.unit.empty() ? "" : " ", field.unit);
}

std::optional<Certainty> parse_certainty(std::string_view text) {
  for (const Certainty one : {Certainty::kMeasured, Certainty::kPublished, Certainty::kAssumed, Certainty::kGiven})
    if (name(one) == text) return one;
  return std::nullopt;
}

// Reads one number: 24, or {"value": 24, "source": "...", "certainty": "published"}.
void read_value(const ProfileField& field, const json& given, Profile& profile, const std::string& where,
                Problems& problems) {
  const json& value = given.is_object() && given.contains("value") ? given["value"] : given;
  Provenance& from = profile.sources[std::string(field.path)];
  if (!value.is_number()) {
    problems.add(where, "{} is {}; it needs a number, or {{\"value\": ..., \"source\": ..., \"certainty\": ...}}.",
                 field.path, value.dump().substr(0, 40));
    return;
  }
  const double number = value.get<double>();
  if (!can_be(field, number)) problems.add(where, "{}", out_of_range(field, number));
  field.of(profile) = number;
  if (given.is_object()) {
    if (given.contains("source") && given["source"].is_string()) from.source = given["source"].get<std::string>();
    if (given.contains("certainty") && given["certainty"].is_string()) {
      const auto certainty = parse_certainty(given["certainty"].get<std::string>());
      if (!certainty)
        problems.add(where, "{}: its certainty is {}; it needs measured, published, assumed or given.", field.path,
                     given["certainty"].dump());
      from.certainty = certainty.value_or(Certainty::kGiven);
    }
  }
}

bool is_section(const std::string& path) {
  return path == "cpu" || std::ranges::any_of(profile_fields(), [&](const ProfileField& field) {
           return field.path.starts_with(path + ".");
         });
}

void read_values(const json& object, const std::string& prefix, Profile& profile, const std::string& where,
                 Problems& problems) {
  for (const auto& [key, value] : object.items()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (path == "name" || path == "about" || path == "device.name") {
      if (!value.is_string()) {
        problems.add(where, "{} is {}; it needs a string.", path, value.dump().substr(0, 40));
        continue;
      }
      (path == "name"    ? profile.name
       : path == "about" ? profile.about
                         : profile.device.name) = value.get<std::string>();
    } else if (path == "findings" || path == "cpu.ops" || path == "cpu.transfers") {
      // What measure_cluster saw, for people; and tables (read_cpu_tables).
    } else if (const ProfileField* field = find_field(path)) {
      read_value(*field, value, profile, where, problems);
    } else if (value.is_object() && is_section(path)) {
      read_values(value, path, profile, where, problems);
    } else {
      problems.add(where, "{}", no_such_path(path));
    }
  }
}

void check_cpu(const Profile& p, const std::string& where, Problems& problems) {
  if (p.device.reserved_gib >= p.device.memory_gib)
    problems.add(where, "device.reserved_gib {} leaves nothing of device.memory_gib {}.", p.device.reserved_gib,
                 p.device.memory_gib);
  if (p.cpu.stream_all_gb_per_s > 1.05 * p.cpu.cores * p.cpu.stream_gb_per_s)
    problems.add(where, "cpu.stream_all_gb_per_s is {:g}: more than {:g} cores that stream {:g} GB/s each.",
                 p.cpu.stream_all_gb_per_s, p.cpu.cores, p.cpu.stream_gb_per_s);
}

// What the numbers say together: figures of data sheets that are not what they seem.
void check_together(const Profile& p, const std::string& where, Problems& problems) {
  if (p.device.reserved_gib >= p.device.memory_gib)
    problems.add(where, "device.reserved_gib {} leaves nothing of device.memory_gib {}.", p.device.reserved_gib,
                 p.device.memory_gib);
  if (p.host.devices_per_socket > p.host.devices)
    problems.add(where, "host.devices_per_socket {} is more than host.devices {}.", p.host.devices_per_socket,
                 p.host.devices);
  if (p.host.devices > p.host.devices_per_socket && p.host.socket_gb_per_s == 0)
    problems.add(where, "host.socket_gb_per_s is 0, but the {} devices sit on several sockets.", p.host.devices);
  if (p.host.devices_per_switch > 0 && p.host.switch_gb_per_s == 0)
    problems.add(where, "host.switch_gb_per_s is 0, but there are switches of {} devices.",
                 p.host.devices_per_switch);
  if (p.host.nvlink_devices > 1 && p.host.nvlink_gb_per_s == 0)
    problems.add(where, "host.nvlink_gb_per_s is 0, but {} devices share NVLink.", p.host.nvlink_devices);
  // No tensor core does more than 16 f32 operations in the time of one; four times that is a sparse figure over a
  // wrong unit. Dense figures of GPUs so far: at most 2.3 PFLOP/s in bf16.
  for (const auto& [path, tflops] : {std::pair{"device.peak_tflops.bf16", p.device.bf16_tflops},
                                     std::pair{"device.peak_tflops.fp16", p.device.fp16_tflops}})
    if (p.device.f32_tflops > 0 && tflops > 40 * p.device.f32_tflops)
      problems.add(
          where,
          "{} is {}, {:.0f} times the f32 rate: that looks like a figure with sparsity. It needs the dense "
          "rate with f32 accumulation.",
          path, tflops, tflops / p.device.f32_tflops);
  // NVLink per direction: 25 GB/s and up a link, at most 900 in all so far.
  if (p.host.nvlink_gb_per_s > 1000)
    problems.add(where, "host.nvlink_gb_per_s is {}: that looks like the sum of both directions. It needs one.",
                 p.host.nvlink_gb_per_s);
  if (p.network.nic_gb_per_s > 200)
    problems.add(where, "network.nic_gb_per_s is {}: that looks like Gb/s. It needs GB/s (400 Gb/s are 50).",
                 p.network.nic_gb_per_s);
  if (p.device.link_gb_per_s > 130 && p.host.peer_access > 0 && p.host.nvlink_devices <= 1)
    problems.add(where, "device.link_gb_per_s is {}: more than PCIe 6 x16 in one direction.",
                 p.device.link_gb_per_s);
}

// Of a file, not of --set, which may ask what no device has.
void check_units(const Profile& p, const std::string& where, Problems& problems) {
  // GPUs so far: 80 to 420 operations a byte.
  if (p.device.bf16_tflops * 1e3 > 2000 * p.device.memory_gb_per_s)
    problems.add(where, "device.memory_gb_per_s is {:g}: that looks like TB/s. It needs GB/s (3.35 TB/s are 3350).",
                 p.device.memory_gb_per_s);
  for (const auto& [path, tflops] : {std::pair{"device.peak_tflops.bf16", p.device.bf16_tflops},
                                     std::pair{"device.peak_tflops.fp16", p.device.fp16_tflops}})
    if (tflops < 0.1 * p.device.f32_tflops)
      problems.add(where,
                   "{} is {:g}, less than a tenth of the f32 rate: that looks like PFLOP/s. It needs TFLOP/s.",
                   path, tflops);
}

// What data sheets say of devices, dense and of one direction: NVIDIA's white papers (RTX 3090: GA102; H800: the
// article). A file that names one of them and gives half as much again took another figure of the same sheet.
struct KnownDevice {
  std::string_view name;
  double bf16_tflops, nvlink_gb_per_s, pcie_gb_per_s;
};
constexpr KnownDevice kKnownDevices[] = {
    {"RTX 3090", 71, 56.25, 31.5}, {"RTX 4090", 165.2, 0, 31.5}, {"RTX 5090", 209.5, 0, 63},
    {"L40S", 362, 0, 31.5},        {"A100", 312, 300, 31.5},     {"H100 PCIe", 756, 300, 63},
    {"H100 SXM", 989.4, 450, 63},  {"H800 SXM", 989.4, 200, 63}, {"H200", 989.4, 450, 63},
    {"B200", 2250, 900, 63},
};

void check_known_device(const Profile& p, const std::string& where, Problems& problems) {
  const auto* device = std::ranges::find_if(
      kKnownDevices, [&](const KnownDevice& known) { return p.device.name.starts_with(known.name); });
  if (device == std::end(kKnownDevices) || p.device.name.ends_with("of the article")) return;
  const auto check = [&](std::string_view path, double value, double right, std::string_view slip) {
    if (right > 0 && value > 1.5 * right)
      problems.add(where,
                   "{} is {:g}: that looks like {}. {} has {:g}. If it is another device, give it another name.",
                   path, value, slip, device->name, right);
  };
  constexpr std::string_view kRate = "a rate with sparsity or with f16 accumulation";
  check("device.peak_tflops.bf16", p.device.bf16_tflops, device->bf16_tflops, kRate);
  check("device.peak_tflops.fp16", p.device.fp16_tflops, device->bf16_tflops, kRate);
  check("host.nvlink_gb_per_s", p.host.nvlink_gb_per_s, device->nvlink_gb_per_s, "the sum of both directions");
  check("device.link_gb_per_s", p.device.link_gb_per_s, device->pcie_gb_per_s, "the sum of both directions");
}

void place(nlohmann::ordered_json& object, std::string_view path, nlohmann::ordered_json value) {
  const size_t dot = path.find('.');
  if (dot == path.npos)
    object[std::string(path)] = std::move(value);
  else
    place(object[std::string(path.substr(0, dot))], path.substr(dot + 1), std::move(value));
}

}  // namespace

std::string_view name(Certainty certainty) {
  switch (certainty) {
    case Certainty::kMeasured:
      return "measured";
    case Certainty::kPublished:
      return "published";
    case Certainty::kAssumed:
      return "assumed";
    case Certainty::kGiven:
      return "given";
  }
  return "";
}

double DeviceProfile::peak_flops(DType dtype) const {
  return 1e12 * (dtype == DType::kBF16 ? bf16_tflops : dtype == DType::kF16 ? fp16_tflops : f32_tflops);
}

double Profile::peak_flops(DType dtype, int ranks, int threads) const {
  const double one = device.peak_flops(dtype), busy = static_cast<double>(ranks) * threads;
  return is_cpu() ? one * std::min(busy, cpu.cores * std::max(1.0, cpu.hosts)) : one * ranks;
}

double DeviceProfile::plannable_bytes() const { return (memory_gib - reserved_gib) * 0x1p30; }

std::vector<std::string> built_in_profiles() {
  std::vector<std::string> names;
  for (const BuiltIn& built_in : built_in_texts()) names.emplace_back(built_in.name);
  std::ranges::sort(names);
  return names;
}

Profile parse_profile(std::string_view text, const std::string& where) {
  const json object = parse_json(std::string(text), where);
  if (!object.is_object()) throw DataError(fmt::format("[{}] a profile is a JSON object.", where));
  Profile profile;
  Problems problems;
  read_values(object, "", profile, where, problems);
  const bool is_cpu = object.contains("cpu") && object["cpu"].is_object();
  if (is_cpu) read_cpu_tables(object["cpu"], profile.cpu, where, problems);
  std::string missing;
  for (const auto fields : {profile_fields(), is_cpu ? cpu_fields() : std::span<const ProfileField>()})
    for (const ProfileField& field : fields)
      if (field.optional)
        profile.sources.try_emplace(std::string(field.path), Provenance{"left out: 0", Certainty::kAssumed});
      else if (!profile.sources.contains(field.path))
        missing += fmt::format("{}{}", missing.empty() ? "" : ", ", field.path);
  if (profile.device.name.empty()) missing += missing.empty() ? "device.name" : ", device.name";
  if (!missing.empty())
    problems.add(where, "it lacks {}. Take a built-in profile (plan_llama clusters --json) and change it.",
                 missing);
  else if (problems.empty() && is_cpu)
    check_cpu(profile, where, problems);
  else if (problems.empty())
    check_together(profile, where, problems), check_units(profile, where, problems),
        check_known_device(profile, where, problems);
  problems.throw_if_any();
  if (profile.name.empty()) profile.name = where;
  return profile;
}

Profile load_profile(const std::string& name_or_file) {
  for (const BuiltIn& built_in : built_in_texts())
    if (built_in.name == name_or_file) return parse_profile(built_in.text, std::string(built_in.name));
  if (!is_taken(name_or_file)) {
    const std::vector<std::string> names = built_in_profiles();
    const auto guess = nearest(lower_case(name_or_file), names);
    throw ConfigError(fmt::format("[cluster] {} is no built-in profile and no file.{} There are: {}.", name_or_file,
                                  guess ? fmt::format(" Did you mean {}?", *guess) : "", fmt::join(names, ", ")));
  }
  return parse_profile(read_text_file(name_or_file), name_or_file);
}

void set_values(Profile& profile, std::span<const std::string> assignments) {
  Problems problems;
  for (const std::string& assignment : assignments) {
    const size_t equals = std::min(assignment.size(), assignment.find('='));
    const std::string path = assignment.substr(0, equals);
    const std::string_view text = std::string_view(assignment).substr(std::min(assignment.size(), equals + 1));
    const ProfileField* field = find_field(path);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (equals == assignment.size())
      problems.add("--set", "{} needs the form device.memory_gib=80.", assignment);
    else if (field == nullptr)
      problems.add("--set", "{}", no_such_path(path));
    else if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
      problems.add("--set", "{} got '{}' and needs a number.", path, text);
    else if (!can_be(*field, value))
      problems.add("--set", "{}", out_of_range(*field, value));
    else if (path.starts_with("cpu.") && !profile.is_cpu())
      problems.add("--set", "{} is a number of machines without GPUs, and {} has some.", path, profile.name);
    if (!problems.empty()) continue;
    field->of(profile) = value;
    profile.sources[path] = {"--set", Certainty::kGiven};
  }
  if (problems.empty() && profile.is_cpu()) check_cpu(profile, "--set", problems);
  if (problems.empty() && !profile.is_cpu()) check_together(profile, "--set", problems);
  problems.throw_if_any();
}

Profile load_profile(const std::string& name_or_file, std::span<const std::string> assignments) {
  Profile profile = load_profile(name_or_file);
  set_values(profile, assignments);
  return profile;
}

nlohmann::ordered_json to_json(const Profile& profile) {
  nlohmann::ordered_json object;
  object["name"] = profile.name;
  object["about"] = profile.about;
  object["device"]["name"] = profile.device.name;
  Profile copy = profile;
  for (const auto fields : {profile_fields(), profile.is_cpu() ? cpu_fields() : std::span<const ProfileField>()})
    for (const ProfileField& field : fields) {
      const Provenance& from = profile.sources.at(std::string(field.path));
      place(object, field.path,
            {{"value", field.of(copy)}, {"source", from.source}, {"certainty", name(from.certainty)}});
    }
  if (profile.is_cpu()) write_cpu_tables(profile.cpu, object["cpu"]);
  return object;
}

std::string profile_table(std::span<const Profile> profiles) {
  std::string text = fmt::format("{:<18} {:>8} {:>8} {:>9} {:>8} {:>12} {:>14} {:>10}\n", "", "bf16", "memory",
                                 "memory", "devices", "device link", "network", "price");
  text += fmt::format("{:<18} {:>8} {:>8} {:>9} {:>8} {:>12} {:>14} {:>10}\n", "cluster", "TFLOP/s", "GiB", "GB/s",
                      "a host", "GB/s", "GB/s a host", "USD");
  for (const Profile& p : profiles)
    text += fmt::format("{:<18} {:>8.1f} {:>8g} {:>9g} {:>8g} {:>12} {:>14g} {:>10g}\n", p.name,
                        p.device.bf16_tflops, p.device.memory_gib, p.device.memory_gb_per_s, p.host.devices,
                        p.host.nvlink_devices > 1 ? fmt::format("{:g} nvlink", p.host.nvlink_gb_per_s)
                        : p.host.peer_access > 0  ? fmt::format("{:g} p2p", p.device.link_gb_per_s)
                                                  : fmt::format("{:g}", p.device.link_gb_per_s),
                        p.network.nics * p.network.nic_gb_per_s, p.device_usd);
  return text;
}

}  // namespace trine
