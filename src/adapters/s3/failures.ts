/** What an S3 service, or the way to it, said: told apart by what a person has to do. */
import { S3ServiceException } from '@aws-sdk/client-s3';
import { Failure, retry, stalled } from '../../rollback/errors.ts';

/** What messages name. */
export interface Where {
  readonly bucket: string;
  /** As declared; null: Amazon's. */
  readonly endpoint: string | null;
  /** The Secret that the credentials are of; null: they are the controller's own. */
  readonly secret: string | null;
}

const rights =
  's3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload';

const credentials = /^(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|TokenRefreshRequired)/;
const elsewhere = /^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint)/;
const overloaded = /^(SlowDown|ServiceUnavailable|InternalError|TooManyRequests|RequestLimitExceeded|Throttling)/;
const full = /^(QuotaExceeded|EntityTooLarge|StorageFull|XMinioStorageFull|InsufficientStorage)/;
const tls = /^(CERT_|ERR_TLS|ERR_SSL|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|EPROTO)/;

/** As StorageUnavailable. What only another declaration mends is `stalled`; all else passes, or is mended elsewhere. */
export function s3Failure(thrown: unknown, { bucket, endpoint, secret }: Where): Failure {
  if (thrown instanceof Failure) return thrown;
  const service = endpoint ?? 'Amazon S3';
  const { code, text, status } = describe(thrown);
  const say = (what: string, remedy: string): Failure =>
    retry('StorageUnavailable', `${what} (${text}). ${remedy}; it is tried again by itself.`, thrown);
  const refuse = (what: string, remedy: string): Failure =>
    stalled('StorageUnavailable', `${what} (${text}). ${remedy}.`, thrown);
  const asked = endpoint === null ? '' : ` --endpoint-url ${endpoint}`;

  if (code === 'NoSuchBucket')
    return say(
      `There is no bucket ${bucket} at ${service}`,
      `Make it: aws s3 mb s3://${bucket}${asked}, or declare another: spec.backup.storage.s3.bucket`,
    );
  if (code === 'InvalidBucketName')
    return refuse(`${service} can have no bucket ${bucket}`, 'Declare another: spec.backup.storage.s3.bucket');
  if (credentials.test(code))
    return say(
      `${service} does not take the credentials of ${secret === null ? 'the controller' : `the Secret ${secret}`}`,
      secret === null
        ? 'Mend them where the controller is started'
        : `Put the right accessKeyId and secretAccessKey into the Secret ${secret} (and sessionToken, where they are temporary)`,
    );
  if (code === 'CredentialsProviderError')
    return say(
      `The controller has no credentials of its own for the bucket ${bucket}`,
      'Name a Secret with accessKeyId and secretAccessKey: spec.backup.storage.s3.secretRef',
    );
  if (code === 'RequestTimeTooSkewed')
    return say(`The clock here and that of ${service} are too far apart`, 'Set it: timedatectl set-ntp true');
  if (elsewhere.test(code) || /Region is missing/.test(text))
    return refuse(`The bucket ${bucket} is in another region`, 'Declare it: spec.backup.storage.s3.region');
  if (code === 'NotImplemented')
    return refuse(
      `${service} can't do what it was asked to`,
      'Leave out spec.backup.storage.s3.serverSideEncryption where it has none, or declare another service',
    );
  if (code === 'AccessDenied' || status === 403)
    return say(`The bucket ${bucket} is not open to these credentials`, `Grant them ${rights}`);
  if (full.test(code)) return say(`The bucket ${bucket} is full`, 'Make room, or raise its quota');
  if (overloaded.test(code) || status === 429 || (status ?? 0) >= 500)
    return say(`${service} could not do it now`, 'Look at its own messages if it stays so');
  if (tls.test(code))
    return say(
      `${service} can't be trusted`,
      'Start the controller with NODE_EXTRA_CA_CERTS=FILE where it has an authority of its own; mend its certificate otherwise',
    );
  if (status === null)
    return say(
      `${service} can't be reached`,
      `Look whether it answers: curl -I ${endpoint ?? 'https://s3.amazonaws.com'}`,
    );
  return say(`The bucket ${bucket} can't be used`, `Look at it: aws s3 ls s3://${bucket}${asked}`);
}

/** Something else answers there. */
export const noS3 = ({ endpoint }: Where): Failure =>
  stalled(
    'StorageUnavailable',
    `${endpoint ?? 'Amazon S3'} answers, but not as S3 does. Declare the address of the service: spec.backup.storage.s3.endpoint`,
  );

/** Whether it is that nothing has that key. */
export const isMissing = (error: unknown): boolean =>
  error instanceof S3ServiceException && (error.name === 'NoSuchKey' || error.name === 'NotFound');

/** Whether it is another object by now than the one that was begun with. */
export const isChanged = (error: unknown): boolean =>
  error instanceof S3ServiceException && [412, 416].includes(error.$metadata.httpStatusCode ?? 0);

/** `status`: null where nobody answered. */
function describe(thrown: unknown): { readonly code: string; readonly text: string; readonly status: number | null } {
  if (thrown instanceof S3ServiceException) {
    const { name, message, $metadata } = thrown;
    return {
      code: name,
      text: message === name ? name : `${name}: ${message}`,
      status: $metadata.httpStatusCode ?? null,
    };
  }
  if (!(thrown instanceof Error)) return { code: '', text: String(thrown), status: null };
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : thrown.name;
  return { code, text: thrown.message === '' ? code : thrown.message, status: null };
}
