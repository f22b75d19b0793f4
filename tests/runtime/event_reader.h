// Reads event files for tests, as TensorFlow's event.proto and TFRecord describe them.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/training/event_file.h"

namespace trine {

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version;
  std::map<std::string, float> scalars;
};

template <typename T>
T take(std::string_view& bytes) {
  T value{};
  EXPECT_LE(sizeof value, bytes.size());
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}
inline uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}
inline std::string_view take_bytes(std::string_view& bytes) {
  const size_t size = take_varint(bytes);
  const std::string_view taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return taken;
}

inline Event parse_event(std::string_view bytes) {
  Event event;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    if (key == (1 << 3 | 1)) {
      event.wall_time = take<double>(bytes);
    } else if (key == (2 << 3 | 0)) {
      event.step = static_cast<int64_t>(take_varint(bytes));
    } else if (key == (3 << 3 | 2)) {
      event.file_version = take_bytes(bytes);
    } else if (key == (5 << 3 | 2)) {
      for (std::string_view summary = take_bytes(bytes); !summary.empty();) {
        EXPECT_EQ(take_varint(summary), uint64_t{1 << 3 | 2});
        std::string_view value = take_bytes(summary);
        EXPECT_EQ(take_varint(value), uint64_t{1 << 3 | 2});
        const std::string tag(take_bytes(value));
        EXPECT_EQ(take_varint(value), uint64_t{2 << 3 | 5});
        EXPECT_TRUE(event.scalars.emplace(tag, take<float>(value)).second) << tag;
      }
    } else {
      ADD_FAILURE() << "key " << key;
      break;
    }
  }
  return event;
}

// Every frame whole and with its checksums.
inline std::vector<Event> read_events(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  std::vector<Event> events;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view length_bytes = rest.substr(0, 8);
    const auto length = take<uint64_t>(rest);
    EXPECT_EQ(take<uint32_t>(rest), masked_crc32c(length_bytes));
    if (length > rest.size()) {
      ADD_FAILURE() << "cut off";
      break;
    }
    const std::string_view data = rest.substr(0, length);
    rest.remove_prefix(length);
    EXPECT_EQ(take<uint32_t>(rest), masked_crc32c(data));
    events.push_back(parse_event(data));
  }
  return events;
}

}  // namespace trine
