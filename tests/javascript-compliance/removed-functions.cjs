// Node.js 23 removed functions that a dependency of the compliance suite still calls.
const util = require('node:util')

util.isObject ??= (value) => value !== null && typeof value === 'object'
util.isArray ??= Array.isArray
util.isString ??= (value) => typeof value === 'string'
util.isNumber ??= (value) => typeof value === 'number'
util.isBoolean ??= (value) => typeof value === 'boolean'
util.isFunction ??= (value) => typeof value === 'function'
util.isUndefined ??= (value) => value === undefined
util.isNull ??= (value) => value === null
util.isNullOrUndefined ??= (value) => value === undefined || value === null
