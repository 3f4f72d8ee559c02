/* Protobuf's wire format, as far as a Predict call of one matrix needs it: messages of apis/predict.proto and
 * framework/tensor.proto. */
#include "predict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

/* Numbers of fields: of PredictRequest, of a map's entry, of TensorProto, TensorShapeProto and its Dim, of ModelSpec. */
enum { SPEC = 1, INPUTS = 2, OUTPUTS = 1, OUTPUT_SPEC = 2 };
enum { KEY = 1, VALUE = 2 };
enum { DTYPE = 1, SHAPE = 2, CONTENT = 4, DIM = 2, DIM_SIZE = 1 };
enum { VERSION = 2, WRAPPED = 1 };

void append(struct buffer *to, const void *data, size_t size) {
  if (to->size + size > to->room) {
    to->room = 2 * (to->size + size);
    to->data = realloc(to->data, to->room);
    if (!to->data) {
      perror("realloc");
      exit(1);
    }
  }
  if (size) memcpy(to->data + to->size, data, size);
  to->size += size;
}

/* One field: its number, and its content, or its value where it is a varint. */
struct field {
  uint64_t number, value;
  struct bytes content;
};

static int read_varint(struct bytes *from, uint64_t *value) {
  *value = 0;
  for (int shift = 0; shift < 64 && from->size; shift += 7) {
    uint8_t one = *from->data++;
    from->size--;
    *value |= (uint64_t)(one & 0x7f) << shift;
    if (!(one & 0x80)) return 1;
  }
  return 0;
}

/* Take the next field off; 0 at the end, -1 when it is broken. */
static int next(struct bytes *from, struct field *found) {
  uint64_t tag, size = 0;
  if (!from->size) return 0;
  if (!read_varint(from, &tag)) return -1;
  found->number = tag >> 3;
  found->value = 0;
  switch (tag & 7) {
    case VARINT:
      found->content = (struct bytes){NULL, 0};
      return read_varint(from, &found->value) ? 1 : -1;
    case FIXED64:
      size = 8;
      break;
    case FIXED32:
      size = 4;
      break;
    case LENGTH:
      if (!read_varint(from, &size)) return -1;
      break;
    default:
      return -1;
  }
  if (size > from->size) return -1;
  found->content = (struct bytes){from->data, (size_t)size};
  from->data += size;
  from->size -= (size_t)size;
  return 1;
}

/* The matrix of a request. */
struct matrix {
  struct bytes name, content;
  uint64_t dtype, dims[2];
  int rank;
};

static int read_shape(struct bytes shape, struct matrix *found) {
  struct field dim, size;
  int more;
  while ((more = next(&shape, &dim)) > 0) {
    if (dim.number != DIM) continue;
    if (found->rank == 2) return -1;
    found->dims[found->rank] = 0;
    while ((more = next(&dim.content, &size)) > 0)
      if (size.number == DIM_SIZE) found->dims[found->rank] = size.value;
    if (more < 0) return -1;
    found->rank++;
  }
  return more;
}

static int read_tensor(struct bytes tensor, struct matrix *found) {
  struct field one;
  int more;
  while ((more = next(&tensor, &one)) > 0) {
    if (one.number == DTYPE) found->dtype = one.value;
    if (one.number == CONTENT) found->content = one.content;
    if (one.number == SHAPE && read_shape(one.content, found) < 0) return -1;
  }
  return more;
}

static int read_input(struct bytes entry, struct matrix *found) {
  struct field one;
  int more;
  while ((more = next(&entry, &one)) > 0) {
    if (one.number == KEY) found->name = one.content;
    if (one.number == VALUE && read_tensor(one.content, found) < 0) return -1;
  }
  return more;
}

static void write_varint(struct buffer *to, uint64_t value) {
  uint8_t bytes[10];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
  bytes[size++] = (uint8_t)value;
  append(to, bytes, size);
}

static void write_number(struct buffer *to, int number, uint64_t value) {
  write_varint(to, (uint64_t)number << 3 | VARINT);
  write_varint(to, value);
}

static void write_bytes(struct buffer *to, int number, struct bytes content) {
  write_varint(to, (uint64_t)number << 3 | LENGTH);
  write_varint(to, content.size);
  append(to, content.data, content.size);
}

/* Write what is in a buffer as a message within another, and empty it. */
static void write_message(struct buffer *to, int number, struct buffer *message) {
  write_bytes(to, number, (struct bytes){message->data, message->size});
  message->size = 0;
}

/* Write the first numbers of each row. */
static void write_output(const struct matrix *matrix, uint64_t columns, struct buffer *answer) {
  static struct buffer dim, shape, tensor, entry;
  uint64_t dims[2] = {matrix->dims[0], columns};
  for (int i = 0; i < 2; i++) {
    write_number(&dim, DIM_SIZE, dims[i]);
    write_message(&shape, DIM, &dim);
  }
  write_number(&tensor, DTYPE, matrix->dtype);
  write_message(&tensor, SHAPE, &shape);
  size_t width = (size_t)(matrix->content.size / matrix->dims[0]), cut = (size_t)(width / matrix->dims[1] * columns);
  write_varint(&tensor, CONTENT << 3 | LENGTH);
  write_varint(&tensor, cut * matrix->dims[0]);
  for (size_t row = 0; row < matrix->dims[0]; row++) append(&tensor, matrix->content.data + row * width, cut);
  write_bytes(&entry, KEY, matrix->name);
  write_message(&entry, VALUE, &tensor);
  write_message(answer, OUTPUTS, &entry);
}

/* Write the ModelSpec of the request, with a version. */
static int write_spec(struct bytes spec, uint64_t version, struct buffer *answer) {
  static struct buffer wrapped, written;
  struct bytes left = spec;
  struct field one;
  int more, has_version = 0;
  while ((more = next(&left, &one)) > 0) has_version |= one.number == VERSION;
  append(&written, spec.data, spec.size);
  if (!has_version) {
    write_number(&wrapped, WRAPPED, version);
    write_message(&written, VERSION, &wrapped);
  }
  write_message(answer, OUTPUT_SPEC, &written);
  return more;
}

int64_t predict(struct bytes request, int64_t columns, int64_t version, struct buffer *answer) {
  struct matrix matrix = {0};
  struct bytes spec = {0};
  struct field one;
  int more, inputs = 0;
  while ((more = next(&request, &one)) > 0) {
    if (one.number == SPEC) spec = one.content;
    if (one.number == INPUTS && (inputs++ || read_input(one.content, &matrix) < 0)) return -1;
  }
  uint64_t numbers = matrix.dims[0] * matrix.dims[1];
  if (more < 0 || inputs != 1 || matrix.rank != 2 || !numbers || matrix.content.size % numbers ||
      matrix.content.size < numbers)
    return -1;
  uint64_t wanted = columns ? (uint64_t)columns : matrix.dims[1];
  write_output(&matrix, wanted < matrix.dims[1] ? wanted : matrix.dims[1], answer);
  if (write_spec(spec, (uint64_t)version, answer) < 0) return -1;
  return (int64_t)matrix.dims[0];
}
