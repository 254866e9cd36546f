export { HeapdumpError, failures, exitCodes, type FailureCode } from "./errors.js";
