// Rows of a table by id on the device for Python: fusedrnn._cuda.take_rows.
#include "cuda/take_rows.h"

#include "cuda/bindings.h"
#include "cuda/intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
void run(const py::object& table, const py::object& ids, const py::object& out, cudaStream_t stream) {
  constexpr const char* kName = "take_rows";
  const std::vector<int64_t> shape = shape_of(table), rows = shape_of(ids);
  if (shape.size() != 2 || rows.size() != 1) throw py::value_error("take_rows: table must have two axes and ids one");
  const DeviceRule ids_rule{kName, "ids", "(R,)", rows}, out_rule{kName, "out", "(R, C)", {rows[0], shape[1]}};
  const DeviceArray from = checked<const T>(table, {kName, "table", "(I, C)", shape});
  cuda::TakeRows<T> problem{};
  problem.rows = rows[0], problem.columns = shape[1], problem.table_rows = shape[0];
  problem.table = static_cast<const T*>(from.data);
  problem.row_stride = from.strides[0], problem.column_stride = from.strides[1];
  problem.ids = present(dense<const int64_t>(ids, ids_rule), ids_rule);
  problem.out = present(dense<T>(out, out_rule), out_rule);
  const py::gil_scoped_release released;
  cuda::take_rows(problem, stream);
}

void take_rows(const py::object& table, const py::object& ids, const py::object& out, uintptr_t stream) {
  const auto to = reinterpret_cast<cudaStream_t>(stream);
  switch (py::cast<int>(table.attr("itemsize"))) {
    case 2:
      return run<uint16_t>(table, ids, out, to);
    case 4:
      return run<uint32_t>(table, ids, out, to);
    default:
      return run<uint64_t>(table, ids, out, to);
  }
}

}  // namespace

void bind_take_rows(py::module_& module) {
  module.def("take_rows", &take_rows, py::arg("table"), py::arg("ids"), py::arg("out"), py::arg("stream"),
             "out[r] = table[ids[r]], NaN where an id is outside; table (I, C) may have any strides. Both are "
             "given as unsigned integers of the size of their numbers.");
}

}  // namespace fusedrnn::python
