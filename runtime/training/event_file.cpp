#include "runtime/training/event_file.h"

#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>
#include <vector>

#include "base/clock.h"
#include "base/input_file.h"
#include "base/program.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

static_assert(std::endian::native == std::endian::little, "frames and fixed fields are little endian");

constexpr std::string_view kFileName = "events.out.tfevents.";
constexpr size_t kLengthBytes = 8, kCrcBytes = 4;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);  // Castagnoli, reflected
    table[i] = crc;
  }
  return table;
}

template <typename T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// The wire format of protocol buffers, as far as events need it.
enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void append_key(std::string& out, int field, Wire wire) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}
void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_key(out, field, Wire::kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

// message Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
std::string event(double wall_time, int64_t step) {
  std::string out;
  append_key(out, 1, Wire::kFixed64);
  append_raw(out, wall_time);
  append_key(out, 2, Wire::kVarint);
  append_varint(out, static_cast<uint64_t>(step));
  return out;
}
constexpr size_t kLongestHead = 1 + 8 + 1 + 10;  // of what event() writes

// The step of an event that begins as event() writes it.
std::optional<int64_t> step_of(std::string_view head) {
  if (head.size() < 11 || head[0] != 0x09 || head[9] != 0x10) return std::nullopt;
  uint64_t step = 0;
  int shift = 0;
  for (const char c : head.substr(10)) {
    step |= (static_cast<uint64_t>(c) & 0x7f) << shift;
    if ((c & 0x80) == 0) return static_cast<int64_t>(step);
    if ((shift += 7) > 63) break;
  }
  return std::nullopt;
}

// How many bytes the whole frames up to a step take. IoError: what cannot be read is not cut away.
int64_t bytes_until(const fs::path& path, int64_t step) {
  if (!is_file(path)) return 0;
  const InputFile file(path);
  const auto read = [&](uint64_t at, auto& bytes, uint64_t count) {
    file.read(static_cast<int64_t>(at), std::as_writable_bytes(std::span(bytes)).first(count));
  };
  const auto size = static_cast<uint64_t>(file.size());
  uint64_t at = 0;
  std::array<char, kLengthBytes + kCrcBytes> header{};
  while (size - at >= header.size()) {
    std::array<char, kLongestHead> head{};
    uint64_t length = 0;
    uint32_t crc = 0;
    read(at, header, header.size());
    std::memcpy(&length, header.data(), sizeof length);
    std::memcpy(&crc, header.data() + kLengthBytes, sizeof crc);
    if (crc != masked_crc32c({header.data(), kLengthBytes})) break;
    const uint64_t end = at + header.size() + length + kCrcBytes;
    if (length > size || end > size) break;  // a last event without its end was cut off
    const uint64_t of_head = std::min<uint64_t>(length, head.size());
    read(at + header.size(), head, of_head);
    const auto of = step_of({head.data(), of_head});
    if (!of || *of > step) break;
    at = end;
  }
  return static_cast<int64_t>(at);
}

// TensorBoard takes any file with "tfevents" in its name; other readers want time and host behind it.
fs::path event_file_in(const fs::path& folder) {
  std::string newest;
  for (const std::string& name : names_in(folder).value_or(std::vector<std::string>()))  // in their order
    if (name.starts_with(kFileName)) newest = name;
  if (newest.empty())
    newest = fmt::format("{}{:010}.{}", kFileName, static_cast<int64_t>(wall_clock_s()), host_name());
  return folder / newest;
}

}  // namespace

uint32_t masked_crc32c(std::string_view data) {
  static constexpr std::array<uint32_t, 256> kTable = make_crc_table();
  uint32_t crc = ~0u;
  for (const char c : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

std::string framed(std::string_view data) {
  std::string out;
  append_raw(out, uint64_t{data.size()});
  append_raw(out, masked_crc32c(out));
  out += data;
  append_raw(out, masked_crc32c(data));
  return out;
}

EventFile::EventFile(const fs::path& folder, std::optional<int64_t> resumed_step)
    : file_(event_file_in(folder), resumed_step ? bytes_until(event_file_in(folder), *resumed_step) : 0) {
  if (file_.size() > 0) return;
  std::string version = event(wall_clock_s(), 0);
  append_bytes(version, 3, "brain.Event:2");
  unwritten_ = framed(version);
}

void EventFile::write(int64_t step, double time_unix_s, std::span<const Scalar> scalars) {
  // message Summary { message Value { string tag = 1; float simple_value = 2; } repeated Value value = 1; }
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    append_bytes(value, 1, scalar.tag);
    append_key(value, 2, Wire::kFixed32);
    append_raw(value, static_cast<float>(scalar.value));
    append_bytes(summary, 1, value);
  }
  std::string data = event(time_unix_s, step);
  append_bytes(data, 5, summary);
  if (file_.append(unwritten_ + framed(data))) unwritten_.clear();
}

}  // namespace trine
