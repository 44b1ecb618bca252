// Half precision of the emulated device.
#pragma once

#include <cstdint>
#include <cstring>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half x) {
  _Float16 value;
  std::memcpy(&value, &x.bits, sizeof value);
  return static_cast<float>(value);
}

inline __half __float2half_rn(float x) {
  const auto value = static_cast<_Float16>(x);
  __half out;
  std::memcpy(&out.bits, &value, sizeof value);
  return out;
}
